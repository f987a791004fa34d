package config

import "time"

// Schedule is a source of events that the server asks itself, from time to time. Its tags are those of [Config].
type Schedule struct {
	Name      string        `yaml:"name" form:"NAME" required:"logs and metrics call the schedule by it" help:"What logs and metrics call it; required, and no two may have the same."`
	Every     time.Duration `yaml:"every" default:"0" min:"0" max:"8760h" help:"Time from one run to the next, 100ms or more. Either this or cron."`
	Cron      string        `yaml:"cron" form:"EXPRESSION" help:"Times of the runs: minute, hour, day of month, month, day of week, with a field for the second in front of them if wanted; or @hourly, @daily, @weekly, @monthly, @yearly."`
	Timezone  string        `yaml:"timezone" form:"ZONE" help:"Time zone of cron, such as Europe/Berlin. Empty: that of the machine."`
	Immediate bool          `yaml:"immediate" default:"false" help:"Run once when the schedule begins, too."`

	Key string `yaml:"key" form:"KEY" help:"Key to publish to. Either this or all."`
	All bool   `yaml:"all" default:"false" help:"Publish to all keys that exist."`

	Data    JSON              `yaml:"data" form:"any value" help:"Fixed data: a text, or any other value, which is sent as its JSON text. One of data, command and url."`
	Command []string          `yaml:"command" form:"ARGUMENT" help:"Program to run, with its arguments; what it writes to its standard output is the data. No shell is involved unless it is the program: [sh, -c, 'date | rev']."`
	URL     string            `yaml:"url" form:"URL" help:"http or https URL to GET; the body of a 2xx answer is the data."`
	Headers map[string]string `yaml:"headers" form:"NAME: VALUE" redact:"yes" help:"Header fields of the request for url."`

	Payload  string        `yaml:"payload" default:"auto" enum:"auto,text,json" help:"What the data is. text: text. json: what app.sse.publish takes, a string or an object with data, event, id, retry. auto: such an object if it has data and no other members, and text otherwise."`
	Event    string        `yaml:"event" form:"TEXT" help:"Name of the event, unless the payload has one."`
	Retry    time.Duration `yaml:"retry" default:"0" min:"0" max:"1h" help:"Reconnection delay told with the event, unless the payload has one. 0: none."`
	Timeout  time.Duration `yaml:"timeout" default:"10s" min:"10ms" max:"1h" help:"A command or request that takes longer is ended, a command with all that it has started in its process group."`
	MaxBytes Size          `yaml:"maxBytes" default:"256KiB" min:"1" max:"1GiB" help:"Most that a command may write, or a body hold. More is refused, not cut."`

	OnlyChanged bool   `yaml:"onlyChanged" default:"false" help:"Publish only what differs from what the schedule published last."`
	SendLast    bool   `yaml:"sendLast" default:"false" help:"Send new subscribers the newest event of key first, as the setting sendLast does."`
	Idle        string `yaml:"idle" default:"run" enum:"run,skip" help:"skip: nothing is run while nobody is subscribed."`
}
