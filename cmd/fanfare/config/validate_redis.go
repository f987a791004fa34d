package config

import "fanfare/bridge/redis"

func (v *validator) redis() {
	c := v.c
	for _, list := range []struct {
		setting string
		names   []string
	}{{"redisChannels", c.RedisChannels}, {"redisStreams", c.RedisStreams}} {
		for _, name := range list.names {
			if err := redis.CheckPattern(name); err != nil {
				v.fail(list.setting, "%s %s", quoteShort(name), err)
			}
		}
		if len(list.names) > 0 && c.RedisURL == "" {
			v.fail(list.setting, "needs redisURL (environment %s), such as redis://127.0.0.1:6379", byName["redisURL"].Env)
		}
	}
	for _, text := range c.RedisKeys {
		if _, err := redis.ParseRule(text); err != nil {
			v.fail("redisKeys", "%s: %s", quoteShort(text), err)
		}
	}
	if c.RedisURL == "" {
		return
	}
	if err := redis.CheckURL(string(c.RedisURL)); err != nil {
		v.fail("redisURL", "%s", err)
	} else if len(c.RedisChannels) == 0 && len(c.RedisStreams) == 0 {
		v.fail("redisURL", "is set, but nothing is read from there: name channels (redisChannels) or streams (redisStreams)")
	}
}
