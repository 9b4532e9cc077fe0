//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"waggle/internal/job"
)

// jobs is a run of the verb against this server.
func (s *server) jobs(t *testing.T, verb string, args ...string) *exec.Cmd {
	t.Helper()
	return command(t, append([]string{"jobs", verb, "--server", s.url}, args...)...)
}

// states are the jobs there are, as the command line tells them to programs.
func (s *server) states(t *testing.T) map[job.ID]job.State {
	t.Helper()
	var list []job.Report
	if err := json.Unmarshal([]byte(succeed(t, s.jobs(t, "list", "--json")).out), &list); err != nil {
		t.Fatal(err)
	}
	states := map[job.ID]job.State{}
	for _, r := range list {
		states[r.ID] = r.State
	}
	return states
}

// await waits until a job is in a state.
func (s *server) await(t *testing.T, id string, want job.State) {
	t.Helper()
	var r job.Report
	for deadline := time.Now().Add(time.Minute); r.State != want; time.Sleep(5 * time.Millisecond) {
		if s.get("/v1/jobs/"+id, &r); time.Now().After(deadline) {
			t.Fatalf("%s is %s, want %s", id, r.State, want)
		}
	}
}

// long is a job that no test waits for.
func long(id string) fields { return star(fields{"id": id, "steps": 150, "batch": 64}) }

// TestJobs speaks to one server with the verbs that people use.
func TestJobs(t *testing.T) {
	needAdapter(t)
	s := startServer(t, "serve", "--port", "0")
	s.ready()
	for _, step := range []struct {
		name string
		run  func(*testing.T, *server)
	}{
		{"generate", testRemote}, {"detach and watch", testDetach}, {"interrupt", testRemoteInterrupt}, {"verbs", testVerbs}, {"pause", testPauseRunning}, {"terminal", testTerminal}, {"mistakes", testJobMistakes},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, &server{TB: t, url: s.url, cmd: s.cmd}) })
	}
}

// testRemote: a server's picture is the one that this machine makes, and is told of in the same lines.
func testRemote(t *testing.T, s *server) {
	args := []string{"generate", starPrompt, "--seed", "5", "--steps", "6", "--batch", "2", "--json", "-o", "out.png"}
	here, there := command(t, args...), command(t, append(args, "--server", s.url)...)
	local, remote := lines(t, succeed(t, here).out), lines(t, succeed(t, there).out)
	for _, name := range []string{"out-1.png", "out-2.png"} {
		a, b := decoded(t, readFile(t, filepath.Join(here.Dir, name))), decoded(t, readFile(t, filepath.Join(there.Dir, name)))
		if !bytes.Equal(a.Pix, b.Pix) {
			t.Errorf("%s: the server's picture is another", name)
		}
	}
	if p := parametersOf(t, readFile(t, filepath.Join(there.Dir, "out-2.png"))); p.Seed != 6 || p.Steps != 6 {
		t.Errorf("parameters %+v", p)
	}
	kinds := func(list []line) (count map[string]int) {
		count = map[string]int{}
		for _, l := range list {
			count[l.Type]++
		}
		return count
	}
	a, b := kinds(local), kinds(remote)
	if a["start"] != b["start"] || a["progress"] != b["progress"] || a["complete"] != b["complete"] || remote[0].Type != "start" {
		t.Errorf("lines of this machine %v, of the server %v", a, b)
	}
}

func testDetach(t *testing.T, s *server) {
	c := command(t, "generate", starPrompt, "--steps", "30", "--server", s.url, "--detach")
	id := strings.TrimSpace(succeed(t, c).out)
	if names := entries(t, c.Dir); len(names) > 0 || !job.ValidID(id) {
		t.Fatalf("printed %q and left %q", id, names)
	}
	o := succeed(t, s.jobs(t, "watch", id[:len(id)-4]))
	if o.out != id+" complete\n" || !strings.Contains(o.err, "step 30 of 30") {
		t.Errorf("watching: %q, %q", o.out, o.err)
	}
	again := succeed(t, s.jobs(t, "watch", strings.TrimPrefix(id, "job-"), "--json")).out // of a job that is over
	if got := lines(t, again); got[len(got)-1].Type != "complete" || len(again) > 10_000 || !strings.Contains(again, `{"id":1,"type":`) {
		t.Errorf("events for programs: %.2000s", again)
	}
}

// testRemoteInterrupt: who interrupts generate means the job, who interrupts watch does not.
func testRemoteInterrupt(t *testing.T, s *server) {
	c := command(t, "generate", starPrompt, "--steps", "150", "--batch", "64", "--json", "--server", s.url)
	o := interruptAt(t, c, syscall.SIGINT, func(l line) bool { return l.Type == "progress" })
	if o.code != exitInterrupted || len(entries(t, c.Dir)) > 0 {
		t.Errorf("exit code %d, files %q", o.code, entries(t, c.Dir))
	}
	oneClearLine(t, o.err, "interrupted and cancelled job-")
	id := o.err[strings.Index(o.err, "job-") : len(o.err)-1]
	s.await(t, id, job.Cancelled)

	s.post(long("watched"))
	o = interruptAt(t, s.jobs(t, "watch", "watched", "--json"), syscall.SIGINT, func(l line) bool { return l.Type == "progress" })
	if oneClearLine(t, o.err, "interrupted", "watched goes on"); o.code != exitInterrupted {
		t.Errorf("exit code %d", o.code)
	}
	if got := s.states(t)["watched"]; got != job.Running {
		t.Errorf("a job that is no longer watched is %s", got)
	}
	succeed(t, s.jobs(t, "cancel", "watched"))
	s.await(t, "watched", job.Cancelled)
}

func testVerbs(t *testing.T, s *server) {
	s.post(long("running-1"))
	s.await(t, "running-1", job.Running)
	s.post(long("waits-1"))
	s.post(long("waits-2"))
	table := succeed(t, s.jobs(t, "list", "--state", "queued")).out
	if rows := strings.Split(table, "\n"); len(rows) != 4 || !strings.HasPrefix(rows[1], "waits-2  queued  -     tiny-shapes  ") || !strings.HasSuffix(rows[2], "  "+starPrompt) {
		t.Errorf("the table:\n%s", table)
	}
	if out := succeed(t, s.jobs(t, "pause", "waits-1")).out; out != "waits-1 paused\n" || s.states(t)["waits-1"] != job.Paused {
		t.Errorf("pausing printed %q", out)
	}
	if out := succeed(t, s.jobs(t, "resume", "waits-1", "--json")).out; out != `{"job_id":"waits-1","status":"queued"}`+"\n" {
		t.Errorf("resuming printed %q", out)
	}
	if out := succeed(t, s.jobs(t, "front", "waits-1", "--before", "waits-2")).out; out != "waits-1 moved\n" {
		t.Errorf("moving printed %q", out)
	}
	fail(t, s.jobs(t, "front", "running-1"), exitFailed, "running-1 is running; only a job that waits can be moved")
	fail(t, s.jobs(t, "rm", "running-1"), exitFailed, "running-1", "has not ended")
	if out := succeed(t, s.jobs(t, "cancel", "waits-1", "waits-2")).out; out != "waits-1 cancelled\nwaits-2 cancelled\n" {
		t.Errorf("cancelling printed %q", out)
	}
	fail(t, s.jobs(t, "cancel", "waits-1"), exitFailed, "waits-1", "cannot be cancelled")
	fail(t, s.jobs(t, "watch", "waits-2"), exitFailed, "waits-2 was cancelled")
	if out := succeed(t, s.jobs(t, "show", "waits-1")).out; !strings.Contains(out, "state     cancelled\n") || !strings.Contains(out, starPrompt) {
		t.Errorf("showing:\n%s", out)
	}
	succeed(t, s.jobs(t, "rm", "waits-1", "waits-2"))
	succeed(t, s.jobs(t, "cancel", "running-1"))
	s.await(t, "running-1", job.Cancelled)
	if got := s.states(t); got["waits-1"] != "" || got["running-1"] != job.Cancelled {
		t.Errorf("jobs left: %v", got)
	}
}

// testPauseRunning: a running job pauses where it is, is shown so, and gives the picture of one that was never paused.
func testPauseRunning(t *testing.T, s *server) {
	request := func(id string, more fields) fields {
		f := star(fields{"id": id, "steps": 60, "sampler": "euler_ancestral", "seed": 11})
		maps.Copy(f, more)
		return f
	}
	_, plain := s.post(request("plain", nil))
	want := s.finished(plain)
	_, stream := s.post(request("stops", fields{"stop_at_step": 20}))
	s.await(t, "stops", job.Paused)
	watch := s.jobs(t, "watch", "stops", "--json")
	var out, errs bytes.Buffer
	watch.Stdout, watch.Stderr = &out, &errs
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	table := succeed(t, s.jobs(t, "list", "--state", "paused")).out
	if rows := strings.Split(table, "\n"); len(rows) != 3 || !strings.HasPrefix(rows[1], "stops  paused  20/60  ") {
		t.Errorf("the table:\n%s", table)
	}
	if out := succeed(t, s.jobs(t, "resume", "stops")).out; out != "stops queued\n" {
		t.Errorf("resuming printed %q", out)
	}
	if out := succeed(t, s.jobs(t, "pause", "stops")).out; out != "stops pausing\n" && out != "stops paused\n" {
		t.Errorf("pausing printed %q", out)
	}
	s.await(t, "stops", job.Paused)
	succeed(t, s.jobs(t, "resume", "stops"))
	if err := watch.Wait(); err != nil {
		t.Errorf("watching: %v, %s", err, errs.String())
	}
	steps, states := 0, ""
	for _, l := range lines(t, out.String()) {
		switch l.Type {
		case "progress", "preview":
			if steps++; l.Step != steps {
				t.Errorf("step %d after %d", l.Step, steps-1)
			}
		case "state":
			states += l.State + " "
		}
	}
	if steps != 60 || !strings.HasPrefix(states, "running paused ") || !strings.HasSuffix(states, "running ") || strings.Count(states, "paused") != 2 {
		t.Errorf("%d steps; states %s", steps, states)
	}
	if !bytes.Equal(s.finished(stream), want) {
		t.Error("a job that was paused gave another picture")
	}
}

func testJobMistakes(t *testing.T, s *server) {
	for i := range 2 {
		s.post(long(fmt.Sprintf("twin-%d", i)))
	}
	defer func() { succeed(t, s.jobs(t, "cancel", "twin-0", "twin-1")) }()
	guarded := startServer(t, "serve", "--port", "0", "--token", "secret")
	for _, row := range []struct {
		args  []string
		code  int
		words []string
	}{
		{[]string{"jobs", "show", "twin", "--server", s.url}, exitFailed, []string{"2 jobs", "twin-0", "twin-1"}},
		{[]string{"jobs", "show", "nobody", "--server", s.url}, exitFailed, []string{"no job's id begins with nobody"}},
		{[]string{"jobs", "show", "a/b", "--server", s.url}, exitFailed, []string{`"a/b"`}},
		{[]string{"jobs", "list", "--limit", "501", "--server", s.url}, exitFailed, []string{"limit must be 1 to 500"}},
		{[]string{"jobs", "list", "--state", "odd", "--server", s.url}, exitUsage, []string{"--state", "odd"}},
		{[]string{"jobs", "cancel"}, exitUsage, []string{"<id>"}},
		{[]string{"jobs", "list", "--server", "127.0.0.1:1"}, exitFailed, []string{"127.0.0.1:1", "http://host:port"}},
		{[]string{"jobs", "list", "--server", "http://127.0.0.1:1"}, exitFailed, []string{"no answer from http://127.0.0.1:1", "refused"}},
		{[]string{"jobs", "list", "--server", guarded.url}, exitFailed, []string{"token"}},
		{[]string{"jobs", "list", "--server", guarded.url, "--token", "wrong"}, exitFailed, []string{"token"}},
		{[]string{"generate", "x", "--detach"}, exitFailed, []string{"--detach", "--server"}},
		{[]string{"generate", "x", "--plan", "--server", s.url}, exitFailed, []string{"--plan", "--server"}},
		{[]string{"generate", "x", "--model", "sd-v9", "--server", s.url}, exitFailed, []string{`"sd-v9"`, "tiny-shapes"}},
		{[]string{"generate", "x", "--sampler", "magic", "--server", s.url}, exitFailed, []string{"magic", "euler"}},
		{[]string{"generate", "x", "--steps", "0", "--server", s.url}, exitFailed, []string{"steps"}},
		{[]string{"generate", "x", "-o", "no/where.png", "--server", s.url}, exitFailed, []string{"--output", "no"}},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) { fail(t, command(t, row.args...), row.code, row.words...) })
	}
	c := command(t, "jobs", "list")
	c.Env = append(c.Env, "WAGGLE_SERVER="+guarded.url, "WAGGLE_TOKEN=secret")
	succeed(t, c)
}
