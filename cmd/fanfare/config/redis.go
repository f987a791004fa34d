package config

import "fanfare/bridge/redis"

func checkRedisURL(c *Config, at place) {
	if c.RedisURL == "" {
		return
	}
	if err := redis.CheckURL(string(c.RedisURL)); err != nil {
		at.fail("%s", err)
	} else if len(c.RedisChannels) == 0 && len(c.RedisStreams) == 0 && c.Backplane != BackplaneRedis {
		at.fail("is set, but nothing uses it: name channels (redisChannels) or streams (redisStreams), or set backplane to redis")
	}
}

func checkRedisNames(c *Config, names []string, at place) {
	for _, name := range names {
		if err := redis.CheckPattern(name); err != nil {
			at.fail("%s %s", quoteShort(name), err)
		}
	}
	if len(names) > 0 && c.RedisURL == "" {
		at.fail("needs redisURL (environment %s), such as redis://127.0.0.1:6379", byName["redisURL"].Env)
	}
}

func checkRedisKeys(c *Config, at place) {
	for _, text := range c.RedisKeys {
		if _, err := redis.ParseRule(text); err != nil {
			at.fail("%s: %s", quoteShort(text), err)
		}
	}
}
