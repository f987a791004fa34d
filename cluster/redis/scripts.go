package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // the name that Redis gives to a script
	_ "embed"
	"encoding/hex"

	"github.com/redis/rueidis"
)

var (
	//go:embed append.lua
	appendLua string
	//go:embed state.lua
	stateLua string
	//go:embed search.lua
	searchLua string
	//go:embed seqat.lua
	seqAtLua string
	//go:embed trim.lua
	trimLua string

	appendScript = newScript(appendLua)
	stateScript  = newScript(stateLua)
	seqAtScript  = newScript(searchLua + seqAtLua)
	trimScript   = newScript(searchLua + trimLua)
)

// script is a Lua script that Redis runs in one step.
type script struct{ text, sha string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see above
	return script{text: text, sha: hex.EncodeToString(sum[:])}
}

// doer is a rueidis.Client or a rueidis.DedicatedClient.
type doer interface {
	B() rueidis.Builder
	Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult
}

// run runs the script by its name, and sends its text only if Redis does not have it.
func (s script) run(ctx context.Context, c doer, keys, args []string) (rueidis.RedisMessage, error) {
	m, err := c.Do(ctx, c.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()).ToMessage()
	if re, ok := rueidis.IsRedisErr(err); ok && re.IsNoScript() { // then nothing was run
		m, err = c.Do(ctx, c.B().Eval().Script(s.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()).ToMessage()
	}
	return m, err
}
