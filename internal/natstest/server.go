// Package natstest runs a cluster of NATS JetStream servers for tests: each a
// process of its own, so that it can be killed and started again on its
// folder, and behind a Link, so that the network between it and one client can
// be cut.
//
// A test binary that uses it calls Main first in its TestMain: the servers are
// that binary again.
package natstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// configured is the variable that makes this binary a server.
const configured = "NATSTEST_SERVER"

// ready says that Main was called: without it a server's process would be one
// that runs the tests, starts servers and so on.
var ready bool

// config is what a server's process is told.
type config struct {
	Name                     string
	Dir                      string
	Client, Cluster, Monitor int   // ports
	Routes                   []int // cluster ports of all; none for a server alone
	MaxPayload               int32
}

// Main runs a server and does not return, if that is what this process was
// started for.
func Main() {
	ready = true
	text, ok := os.LookupEnv(configured)
	if !ok {
		return
	}
	var c config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run serves until the process that started this one is gone.
func (c config) run() error {
	o := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.Client, NoSigs: true, LogFile: filepath.Join(c.Dir, "log"),
		HTTPHost: "127.0.0.1", HTTPPort: c.Monitor, MaxPayload: c.MaxPayload,
		JetStream: true, StoreDir: c.Dir, JetStreamMaxStore: 4 << 30,
	}
	if len(c.Routes) > 0 {
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: c.Cluster, NoAdvertise: true}
	}
	for _, port := range c.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", port)})
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	_, _ = io.Copy(io.Discard, os.Stdin) // it ends with the one who started us
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// Server is one of a cluster. Its folder outlives its process.
type Server struct {
	Name string

	tb      testing.TB
	config  config
	process *exec.Cmd
	stdin   io.Closer
}

// Start begins the process, again after Kill or Stop.
func (s *Server) Start() {
	s.tb.Helper()
	if !ready {
		s.tb.Fatal("TestMain must call natstest.Main first")
	}
	text, err := json.Marshal(s.config)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.process = exec.Command(os.Args[0])
	s.process.Env = append(os.Environ(), configured+"="+string(text))
	s.process.Stderr = os.Stderr
	if s.stdin, err = s.process.StdinPipe(); err != nil {
		s.tb.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		s.tb.Fatal(err)
	}
}

// Kill ends the process as kill -9 does.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // it may have ended
	_ = s.process.Wait()         // it was killed: that is its error
	s.process = nil
}

// Stop lets the process end in peace.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	s.stdin.Close()
	if err := s.process.Wait(); err != nil {
		s.tb.Errorf("server %s: %v", s.Name, err)
	}
	s.process = nil
}

// Running reports whether the server was started and not ended.
func (s *Server) Running() bool { return s.process != nil }

// Address is where clients connect.
func (s *Server) Address() string { return fmt.Sprint("127.0.0.1:", s.config.Client) }

// Log is what the server has written to its log.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.config.Dir, "log"))
	return string(text)
}

// monitor asks the server about itself.
func (s *Server) monitor(path string, into any) error {
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/%s", s.config.Monitor, path))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	defer client.CloseIdleConnections()
	return json.NewDecoder(answer.Body).Decode(into)
}

// healthy reports whether the server says that all it keeps is in order.
func (s *Server) healthy() bool {
	var health struct{ Status string }
	return s.monitor("healthz", &health) == nil && health.Status == "ok"
}

// freePorts finds ports that nobody listens on, all different.
func freePorts(tb testing.TB, n int) (ports []int) {
	tb.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
