package config

import (
	"path"
	"strings"
	"unicode/utf8"
)

func checkPath(c *Config, at place) {
	clean := path.Clean("/" + strings.TrimLeft(c.Path, "/"))
	if strings.HasSuffix(c.Path, "/") && clean != "/" {
		clean += "/"
	}
	switch {
	case !strings.HasPrefix(c.Path, "/"):
		at.fail("%s must begin with a slash: write %q", quoteShort(c.Path), "/"+c.Path)
	case strings.ContainsAny(c.Path, "?#"):
		at.fail("%s must not have a query or fragment: clients name the keys (?connectKey=K)", quoteShort(c.Path))
	case strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '%' || r == '\\' }):
		at.fail("%s may contain only visible ASCII characters other than %% and backslash", quoteShort(c.Path))
	case clean != c.Path:
		at.fail("%s can never match, because request paths are cleaned: write %q", quoteShort(c.Path), clean)
	case c.Path == "/" && c.Page:
		at.fail("\"/\" is the path of the built-in page: choose another path, or set page to false")
	}
}

func checkCacheKey(c *Config, at place) {
	if c.CacheKey == "" {
		at.fail("must not be empty: it is the key of subscribers and publishers that name none (default %q)", byName["cacheKey"].Default)
		return
	}
	checkKey(c, c.CacheKey, at)
}

// checkKey checks a key that the configuration itself names.
func checkKey(c *Config, key string, at place) {
	switch {
	case !utf8.ValidString(key):
		at.fail("%s is not UTF-8", quoteShort(key))
	case int64(len(key)) > int64(c.MaxKeyBytes) && c.MaxKeyBytes > 0:
		at.fail("has %d bytes, more than maxKeyBytes (%s, %s): shorten it or raise maxKeyBytes", len(key), c.MaxKeyBytes, c.Origin("maxKeyBytes"))
	}
}
