package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"fanfare/bridge/nats"
	"fanfare/bridge/redis"
	"fanfare/bridge/schedule"
	"fanfare/cmd/fanfare/config"
	"fanfare/engine"
	"fanfare/transport"
)

// process is the running server.
type process struct {
	cfg       *config.Config // the configuration loaded last
	cacheKey  string         // of the first configuration: it cannot change
	load      func() (*config.Config, error)
	level     slog.LevelVar
	logger    *slog.Logger
	eng       *engine.Engine
	srv       *transport.Server
	schedule  *schedule.Runner
	names     *redis.Names  // of the first configuration: they cannot change
	redis     *redis.Bridge // nil without Redis
	nats      *nats.Bridge  // nil without subjects
	backplane *backplane    // nil without one
	admin     net.Listener  // nil if the setting is off
	certs     listenerCerts
	options   transport.Options // in effect

	certsChanged chan struct{} // a file of certificates has changed them
	guarded      bool          // a credential is needed on the admin listener
	door         door          // who may subscribe and publish
}

// serve runs the server until SIGINT or SIGTERM, and then drains it. A second signal ends it at once.
func serve(cfg *config.Config, load func() (*config.Config, error)) error {
	p := &process{cfg: cfg, cacheKey: cfg.CacheKey, load: load, certsChanged: make(chan struct{}, 1)}
	if err := setLevel(&p.level, cfg.LogLevel); err != nil {
		return err
	}
	p.logger = newLogger(cfg.LogFormat, &p.level)

	// Convert the settings, and make the parts of the server.
	files := fileLimit()
	limit, warning := connectionLimit(cfg.MaxConnections, files)
	var err error
	if p.names, err = redisNames(cfg); err != nil {
		return err
	}
	eo, err := engineOptions(cfg, p.names)
	if err != nil {
		return err
	}
	to, err := transportOptions(cfg, limit, p.logger)
	if err != nil {
		return err
	}
	if err := p.certs.open(cfg, &to, p.logger); err != nil {
		return err
	}
	defer p.certs.close()
	authorizer, err := p.door.guard(cfg, &to, p.logger)
	if err != nil {
		return err
	}
	p.door.replace(authorizer)
	defer p.door.close()
	p.eng = engine.New(eo)
	defer p.eng.Close()

	// Catch signals before anything waits or listens, so that each of them drains.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	// Make the server, and open the admin listener. With a backplane it answers health checks before the broker is reached, so that a
	// liveness probe does not end the process during an outage.
	if cfg.Durable() {
		to.Starting = "starting: the broker has not been reached"
	}
	if p.srv, err = transport.NewServer(p.eng, to); err != nil {
		return err
	}
	p.options = to
	defer func() { // the node ends after the server, which publishes through it
		p.srv.Close()
		p.backplane.close()
	}()
	failed := make(chan error, 2)
	p.guarded = guardsAdmin(cfg, &to)
	l, err := openListeners(cfg, p.guarded, inheritedFiles())
	if err != nil {
		return err
	}
	defer l.close()
	if len(l.inherited) > 0 {
		p.logger.Info("using sockets inherited from the parent process in place of these settings", "settings", l.describe())
	}
	serveAdmin := func() {
		if p.admin = l.admin; l.admin != nil {
			go func() { failed <- p.srv.ServeAdmin(l.admin) }()
		}
	}
	if cfg.Durable() {
		serveAdmin()
	}

	// Open the log.
	if err := untilSignal(signals, func(ctx context.Context) (err error) {
		p.backplane, err = openBackplane(ctx, cfg, p.eng, p.logger)
		return err
	}); err != nil {
		return p.stopped(err)
	}
	if p.backplane != nil {
		p.srv.SetBackplane(p.backplane.node)
		p.srv.SetStarting("starting: the log is being read")
	}
	for _, c := range p.certs.stores() {
		if err := p.srv.Registry().Register(c); err != nil {
			return err
		}
	}
	if p.backplane != nil {
		if err := p.srv.Registry().Register(p.backplane.metrics); err != nil {
			return err
		}
	}
	if p.schedule, err = newScheduleRunner(cfg, p.srv, p.logger); err != nil {
		return err
	}
	defer p.schedule.Close()

	// Read the log before clients can ask for what is in it.
	if err := untilSignal(signals, func(ctx context.Context) error { return p.backplane.settle(ctx, p.logger) }); err != nil {
		return p.stopped(err)
	}

	// Subscribe to NATS, and read the history from Redis before clients can ask for it.
	if p.nats, err = newNATS(cfg, p.backplane, p.srv, p.logger); err != nil {
		return err
	}
	if p.nats != nil {
		startNATS(p.nats)
		defer p.nats.Close()
	}
	if p.redis, err = newRedis(cfg, p.names, eo, p.backplane, p.srv, p.logger); err != nil {
		return err
	}
	if p.redis != nil {
		startRedis(p.redis)
		defer p.redis.Close()
	}

	// Open the stream listener, and start what publishes on its own.
	if err := l.openStream(cfg); err != nil {
		return err
	}
	p.srv.Started()
	if !cfg.Durable() {
		serveAdmin()
	}
	go func() { failed <- p.srv.Serve(l.stream) }()
	p.certs.start(l, func() { notify(p.certsChanged) })
	if err := p.schedule.Apply(schedules(cfg)); err != nil {
		return err
	}
	p.announce(l.stream, l.admin, limit, files)
	if warning != "" {
		p.logger.Warn(warning)
	}
	if cfg.StdinStops {
		go stopAtEnd(os.Stdin, signals)
	}
	return p.run(signals, failed)
}

// stopped turns the end by a signal, before the server was ready, into the end of a run.
func (p *process) stopped(err error) error {
	if errors.Is(err, errStopped) {
		p.logger.Info("stopped", "reason", err.Error())
		return nil
	}
	return err
}

// stopAtEnd asks for a drain, as SIGTERM does, when in ends: the process at the other end has closed it, or has ended.
func stopAtEnd(in io.Reader, signals chan<- os.Signal) {
	_, _ = io.Copy(io.Discard, in) // an error is an end as well
	signals <- syscall.SIGTERM
}

// announce logs the addresses, the limits, and commands to try.
func (p *process) announce(streams, admin net.Listener, limit, files int) {
	at, with := p.certs.stream.reach(streams.Addr())
	for name, ln := range map[string]net.Listener{"listen": streams, "admin": admin} {
		if ln != nil && ln.Addr().Network() == "unix" {
			p.logger.Info("listening on a Unix socket", "setting", name, "path", ln.Addr().String())
		}
	}
	p.logger.Info("streams", "url", at+p.cfg.Path+"?connectKey=KEY", "page", pageURL(p.cfg, at))
	p.logger.Info("limits", "maxConnections", limit, "maxClients", p.cfg.MaxClients, "openFiles", files,
		"history", p.cfg.History, "historyTotalBytes", int64(p.cfg.HistoryTotalBytes))
	if p.backplane != nil {
		p.logger.Info("backplane", p.backplane.describe(p.cfg)...)
	}
	if n := len(p.cfg.Schedules); n > 0 {
		p.logger.Info("schedules", "running", n)
	}
	try := fmt.Sprintf("%s -N%s '%s%s?connectKey=news'", curl(streams.Addr()), with, at, p.cfg.Path)
	if admin == nil {
		p.logger.Info("publish API is off (admin: off)", "try", try)
		return
	}
	api, auth := p.certs.admin.reach(admin.Addr())
	if p.cfg.AdminClientCA != "" {
		auth += " --cert CLIENT.pem --key CLIENT.key"
	}
	switch {
	case p.cfg.PublishToken != "":
		auth += " --oauth2-bearer $FANFARE_PUBLISH_TOKEN" // no double quotes: the log would escape them
	case p.cfg.GuardsPublish() && p.cfg.AdminClientCA == "":
		auth += " --oauth2-bearer TOKEN"
	}
	p.logger.Info("publish API", "url", api+"/publish?key=KEY", "metrics", api+"/metrics", "token", p.cfg.GuardsPublish())
	p.logger.Info("try", "subscribe", try,
		"publish", fmt.Sprintf("%s '%s/publish?key=news' -H 'Content-Type: text/plain' -d hello%s", curl(admin.Addr()), api, auth))
}

func pageURL(c *config.Config, at string) string {
	if !c.Page {
		return "off"
	}
	return at + "/"
}

// reachable is the address by which this machine reaches a listener. A wildcard address becomes localhost, and so does a Unix
// socket, where any name will do.
func reachable(a net.Addr) string {
	if _, ok := a.(*net.UnixAddr); ok {
		return "localhost"
	}
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// run handles signals and changes of the configuration file until the server ends.
func (p *process) run(signals <-chan os.Signal, failed <-chan error) error {
	watching, stopWatching := context.WithCancel(context.Background())
	defer stopWatching()
	changed := make(chan struct{}, 1)
	if file := p.cfg.File(); file != "" {
		if _, err := p.cfg.Watch(watching, func() { notify(changed) }); err != nil {
			p.logger.Warn("cannot watch the configuration file: send SIGHUP after a change", "file", file, "error", err)
		}
	}
	for {
		select {
		case err := <-failed:
			return err
		case <-changed:
			p.reload("file")
		case <-p.certsChanged:
			p.certs.options(&p.options)
			if err := p.srv.Reconfigure(p.options); err != nil { // not possible: only certificates are new
				return err
			}
		case s := <-signals:
			if s == syscall.SIGHUP {
				p.reload("SIGHUP")
				continue
			}
			p.drain(s, signals)
			return nil
		}
	}
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// drain ends the streams at the configured rate, or at once on a second signal.
func (p *process) drain(s os.Signal, signals <-chan os.Signal) {
	p.logger.Info("draining: a second signal stops at once", "signal", s.String(), "streams", p.srv.Open())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if s != syscall.SIGHUP {
					cancel()
					return
				}
			}
		}
	}()
	// Stop the sources before the streams: clients get later events from the server to which they reconnect.
	// In a fleet another node takes over what this one reads for all.
	p.schedule.Close()
	var sources sync.WaitGroup
	if p.redis != nil {
		sources.Go(p.redis.Close)
	}
	if p.nats != nil {
		sources.Go(p.nats.Close)
	}
	sources.Wait()
	p.srv.Drain(ctx)
	// Answer what is being published. With a backplane that may take a while.
	answering, stop := context.WithTimeout(ctx, p.cfg.PublishTimeout)
	defer stop()
	p.srv.DrainAdmin(answering)
	p.backplane.drainQueue(answering, p.logger)
	if ctx.Err() != nil {
		p.logger.Warn("stopped at once by a second signal")
	}
	p.logger.Info("stopped")
}

// reload applies a new configuration without ending a stream. If the configuration has a mistake, nothing changes.
func (p *process) reload(why string) {
	next, err := p.load()
	if err != nil {
		p.logger.Error("configuration not reloaded: the previous one stays in effect", "why", why, "error", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	changed, restart := config.Diff(p.cfg, next)
	if err := p.apply(next); err != nil {
		p.logger.Error("configuration not reloaded: the previous one stays in effect", "why", why, "error", err)
		return
	}
	if len(restart) > 0 {
		p.logger.Warn("settings that need a restart keep their old value", "settings", strings.Join(restart, ", "))
	}
	p.logger.Info("configuration reloaded", "why", why, "changed", strings.Join(changed, ", "))
}

func (p *process) apply(next *config.Config) error {
	eo, err := engineOptions(next, p.names)
	if err != nil {
		return err
	}
	to, err := transportOptions(next, 0, nil)
	if err != nil {
		return err
	}
	to.CacheKey = p.cacheKey                       // the streams without a key are subscribed to it
	to.DuplicateWindow = p.options.DuplicateWindow // as that of the backplane's log
	useCerts, err := p.certs.load(next, &to, p.admin != nil)
	if err != nil {
		return err
	}
	if err := p.checkPublishers(next, &to); err != nil {
		return err
	}
	authorizer, err := p.door.guard(next, &to, p.logger)
	if err != nil {
		return err
	}
	if p.door.guards() && to.Authorize == nil {
		p.door.retire(authorizer)
		return errors.New("authorization: cannot be switched off while the streams are open: " +
			"restart the server, or let everybody subscribe by anonymousKeys: [\"**\"]")
	}
	if err := to.Check(); err != nil {
		p.door.retire(authorizer)
		return err
	}
	useCerts()
	// The new one first: the server must not ask one that allows more than the configuration.
	old := p.door.replace(authorizer)
	if err := p.srv.Reconfigure(to); err != nil {
		p.door.retire(p.door.replace(old))
		return err
	}
	p.options = to
	p.door.retire(old)
	p.eng.Reconfigure(eo)
	if err := p.schedule.Apply(schedules(next)); err != nil {
		return err
	}
	p.cfg, p.guarded = next, guardsAdmin(next, &to)
	return setLevel(&p.level, next.LogLevel)
}
