package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
)

// logFileFlags say where the log goes.
type logFileFlags struct {
	LogFile string `name:"log-file" type:"path" env:"WAGGLE_LOG_FILE" placeholder:"FILE" help:"Append the log to this file instead of standard error. When it is moved away a new one is begun."`

	file *logFile // nil: standard error
}

// logTo is where the log goes.
func (f *logFileFlags) logTo() io.Writer {
	if f.file == nil {
		return os.Stderr
	}
	return f.file
}

// logged runs a server with its log file. What ends it stands in the file too, as nobody may see standard error.
func (c *listenFlags) logged(serve func() error) (err error) {
	signal.Ignore(syscall.SIGPIPE) // nobody may read what we print
	if c.LogFile == "" {
		return serve()
	}
	signal.Ignore(syscall.SIGHUP) // those who rotate logs send it
	if c.file, err = openLogFile(c.LogFile); err != nil {
		return fmt.Errorf("--log-file: %w", err)
	}
	defer c.file.Close()
	if err = serve(); err != nil {
		c.logger().Error("the server ends", slog.Any("error", err))
	}
	return err
}

// logFile is a file that is appended to. It is looked up by its name for every line, so that it may be moved away. The stacks
// of a crash go there as well.
type logFile struct {
	path string

	mu   sync.Mutex
	file *os.File
}

func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path}
	file, err := l.open()
	l.file = file
	return l, err
}

func (l *logFile) open() (*os.File, error) {
	file, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	_ = debug.SetCrashOutput(file, debug.CrashOptions{}) // a crash is told on standard error in any case
	return file, nil
}

// Write appends a line.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return 0, os.ErrClosed
	}
	l.follow()
	return l.file.Write(line)
}

// follow takes a new file where the one that is open has lost its name. If there can be none, the old one will do.
func (l *logFile) follow() {
	named, err := os.Stat(l.path)
	mine, mineErr := l.file.Stat()
	if err == nil && mineErr == nil && os.SameFile(named, mine) {
		return
	}
	if file, err := l.open(); err == nil {
		l.file.Close()
		l.file = file
	}
}

// Close ends it; what is written later is lost.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
	file := l.file
	l.file = nil
	return file.Close()
}
