package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strconv"
	"syscall"

	"waggle/internal/door"
)

// listenFlags say where a server listens, and to whom. The command that embeds them sets the variables port and portenv.
type listenFlags struct {
	Bind    string   `default:"127.0.0.1" help:"Address to listen on; anything but loopback needs --token."`
	Port    int      `default:"${port}" env:"${portenv}" help:"Port to listen on; 0 takes a free one."`
	Origins []string `name:"cors-origin" help:"Web site (scheme://host) whose scripts may call; repeatable, * for all."`
	Hosts   []string `name:"host" help:"Name that this server is reached by, besides localhost and numeric addresses; repeatable."`
	Log     string   `name:"log-level" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
	Format  string   `name:"log-format" default:"text" enum:"text,json" help:"text, or json: one object a line."`

	logFileFlags `embed:""`
	tokenFlags   `embed:""`
	tlsFlags     `embed:""`
	limitFlags   `embed:""`
}

// listen opens the port, and says for whom. It refuses to be open to strangers.
func (c *listenFlags) listen() (net.Listener, door.Config, error) {
	to, err := c.door()
	if err != nil {
		return nil, to, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(c.Bind, strconv.Itoa(c.Port)))
	if err != nil {
		return nil, to, fmt.Errorf("listen on %s port %d: %w; %s", c.Bind, c.Port, plainNetError(err), listenAdvice(err))
	}
	return listener, to, nil
}

// door is for those who have one of the keys. A certificate says by which names they come.
func (c *listenFlags) door() (door.Config, error) {
	keys, err := c.keys()
	if err == nil {
		err = c.check(keys)
	}
	to := door.Config{Keys: keys, Origins: c.Origins, Hosts: c.Hosts}
	if err == nil {
		err = c.limits(&to, c.Bind)
	}
	if err == nil {
		err = c.tlsFlags.open(&to, c.logger())
	}
	return to, err
}

func (c *listenFlags) check(keys []door.Key) error {
	if len(keys) == 0 && !loopback(c.Bind) {
		return fmt.Errorf("--bind %s can be reached by others: give a --token that they must know", c.Bind)
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("--port %d: want 0 to 65535", c.Port)
	}
	return nil
}

// plainNetError drops what repeats the address.
func plainNetError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func listenAdvice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "choose another with --port, or 0 for a free one"
	case errors.Is(err, fs.ErrPermission):
		return "choose one above 1023 with --port"
	}
	return "--bind wants an address of this machine"
}

func (c *listenFlags) logger() *slog.Logger { return slog.New(c.logHandler(c.logTo())) }

// logHandler writes the log in the format asked for.
func (c *listenFlags) logHandler(to io.Writer) slog.Handler {
	var level slog.Level
	level.UnmarshalText([]byte(c.Log))
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		options.ReplaceAttr = inWords
		return slog.NewJSONHandler(to, options)
	}
	return slog.NewTextHandler(to, options)
}

// inWords shows a time as it is in the other format, not in nanoseconds.
func inWords(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.String())
	}
	return a
}
