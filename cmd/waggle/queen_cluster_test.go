//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waggle/internal/natstest"
)

// swarm is a cluster of one server with nodes and queens on it.
type swarm struct {
	*testing.T
	*natstest.Cluster
}

func newSwarm(t *testing.T) *swarm { return &swarm{t, natstest.StartCluster(t, 1)} }

func (s *swarm) node(name string) *server {
	s.Helper()
	return startServer(s.T, "serve", "--port", "0", "--worker-id", name, "--checkpoint-every", "200ms", "--nats", s.URLs()[0])
}

// queen starts a queen and waits until she knows so many nodes that are ready.
func (s *swarm) queen(nodes int, more ...string) *server {
	s.Helper()
	q := startQueen(s.T, append([]string{"--nats", s.URLs()[0]}, more...)...)
	q.awaitNodes(nodes)
	return q
}

// nodeView is what a test reads of a node in a list.
type nodeView struct {
	ID, Kind, Device, Status string
	Since, Seen              time.Time
	Load                     struct{ Running, Waiting int }
	Models                   []struct{ Name string }
}

func (s *server) nodes() (list []nodeView, problem string) {
	s.Helper()
	var answer struct {
		Nodes   []nodeView
		Problem string
	}
	s.get("/v1/nodes", &answer)
	return answer.Nodes, answer.Problem
}

func (s *server) awaitNodes(n int) {
	s.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		list, problem := s.nodes()
		able := 0
		for _, node := range list {
			if node.Status == "ready" || node.Status == "busy" {
				able++
			}
		}
		if able == n {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("the queen knows of %+v, want %d that are ready; %s", list, n, problem)
		}
	}
}

// TestQueenOnCluster: a job that a queen took is the cluster's. It outlives her, another queen streams and cancels it, and
// its picture is that of any node.
func TestQueenOnCluster(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	s := newSwarm(t)
	node := s.node("bee-1")
	first, second := s.queen(1), s.queen(1)

	order := star(fields{"id": "mine", "steps": 6})
	id, path := first.post(order)
	if again, _ := second.post(order); id != "mine" || again != id {
		t.Errorf("the same operation at two queens is %s and %s", id, again)
	}
	other := star(fields{"id": "mine", "steps": 7})
	for _, q := range []*server{first, second} {
		if a := q.ask(http.MethodPost, "/v1/jobs", encoded(t, other)); a.status != http.StatusConflict {
			t.Errorf("another operation under its id: %d %s", a.status, a.body)
		}
	}
	first.kill()
	list := rest(t, second.openStream(path))
	actions, events, marker := parts(t, list)
	if got := strings.Join(actions, " "); marker != "[DONE]" || got != "execute route_job image_schedule image_worker_sel image_streaming image_complete" {
		t.Errorf("ended with %s; narrated %s", marker, got)
	}
	var last event
	if err := json.Unmarshal([]byte(events[len(events)-1].data), &last); err != nil || last.Type != "complete" {
		t.Fatalf("the last event is %.100q", events[len(events)-1].data)
	}
	if picture := node.ask(http.MethodGet, "/v1/jobs/mine/image", nil); !bytes.Equal(picture.body, last.Image) {
		t.Error("the queen's picture is not the node's")
	}
	behind := second.replay(path, 4, nil)
	if n := len(behind); n != 5 || behind[0].id != 5 || behind[3].Type != "complete" || behind[4].Type != "narration" {
		t.Errorf("behind event 4 came %+v", behind)
	}

	long, path := second.post(star(fields{"steps": 150}))
	stream := second.openStream(path)
	await(t, stream, time.Minute, "a step", func(m message) bool { return m.name == "preview" })
	if nodes, _ := second.nodes(); len(nodes) != 1 || nodes[0].ID != "bee-1" || nodes[0].Kind != "node" || nodes[0].Device == "" || nodes[0].Since.IsZero() ||
		time.Since(nodes[0].Seen) > time.Minute || nodes[0].Models[0].Name != "tiny-shapes" {
		t.Errorf("the nodes: %+v", nodes)
	}
	third := s.queen(1)
	if a := third.ask(http.MethodDelete, "/v1/jobs/"+long, nil); a.status != http.StatusOK {
		t.Errorf("DELETE at another queen: %d %s", a.status, a.body)
	}
	if actions, _, marker := parts(t, rest(t, stream)); marker != "[CANCELLED]" || actions[len(actions)-1] != "cancelled" {
		t.Errorf("the cancelled job ended with %s", marker)
	}
	var jobs struct {
		Jobs []struct{ ID, State, Operation, Model, Node string }
	}
	want := "[{" + long + " cancelled image_generation tiny-shapes bee-1} {mine complete image_generation tiny-shapes bee-1}]"
	eventually(t, time.Minute, "list with "+want, func() bool {
		third.get("/v1/jobs", &jobs)
		return fmt.Sprint(jobs.Jobs) == want
	})
}

func encoded(t testing.TB, f fields) []byte {
	t.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestQueenClusterErrors: what waiting does not mend is one line that says what to do.
func TestQueenClusterErrors(t *testing.T) {
	t.Parallel()
	s := newSwarm(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ args, words []string }{
		{[]string{"--nats-creds", file}, []string{"credentials", file, "JWT"}},
		{[]string{"--nats-ca", file}, []string{file, "no certificate"}},
		{[]string{"--nats-cert", file}, []string{"--nats-cert and --nats-key go together"}},
	} {
		fail(t, command(t, append([]string{"queen", "--port", "0", "--nats", s.URLs()[0]}, row.args...)...), exitFailed, row.words...)
	}
}

// TestQueenClusterAway: a queen whose cluster does not answer serves her workers and says why she does no more; when it is
// there she is on it. When it is gone for a while during a job, its reader hears the rest afterwards.
func TestQueenClusterAway(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	s := newSwarm(t)
	s.Servers[0].Kill()
	q, h, w := startQueen(t, "--nats", s.URLs()[0]), newHive(t), newWorker(t)
	h.join(q, w)
	workersJob := func(when string) {
		t.Helper()
		if _, _, marker := parts(t, q.made(lighthouse(nil))); marker != "[DONE]" {
			t.Errorf("a worker's job %s ended with %s", when, marker)
		}
	}
	workersJob("before")
	if nodes, problem := q.nodes(); len(nodes) != 1 || !strings.Contains(problem, "the cluster cannot be asked") {
		t.Errorf("without the cluster: %+v, %q", nodes, problem)
	}
	if _, _, marker := parts(t, q.made(star(nil))); !strings.Contains(marker, "No available worker found for model 'tiny-shapes'") || !strings.Contains(marker, "the cluster cannot be asked") {
		t.Errorf("a job for the cluster: %s", marker)
	}

	s.Servers[0].Start()
	s.Ready()
	s.node("bee-1")
	q.awaitNodes(2)
	_, path := q.post(star(fields{"steps": 100}))
	stream := q.openStream(path)
	await(t, stream, time.Minute, "a step", func(m message) bool { return m.name == "preview" })
	s.Servers[0].Kill()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, problem := q.nodes(); strings.Contains(problem, "no connection to NATS") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the queen has not noticed that the cluster is gone")
		}
	}
	workersJob("meanwhile")
	s.Servers[0].Start()
	_, events, marker := parts(t, rest(t, stream))
	if marker != "[DONE]" {
		t.Errorf("the job ended with %s", marker)
	}
	inOrder(t, events, 100)
}

// TestQueenNodeDies: the node that draws a job is killed while a client of the queen reads; another draws the rest, and the
// client hears each step once.
func TestQueenNodeDies(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	s := newSwarm(t)
	nodes := map[string]*server{"bee-1": s.node("bee-1"), "bee-2": s.node("bee-2")}
	q := s.queen(2)
	id, path := q.post(star(fields{"steps": 60}))
	stream := q.openStream(path)
	await(t, stream, time.Minute, "step 6", func(m message) bool { return stepIn(t, m) == 6 })
	var where struct{ Node string }
	q.get("/v1/jobs/"+id, &where)
	if nodes[where.Node] == nil {
		t.Fatalf("the job is at %q", where.Node)
	}
	nodes[where.Node].kill()
	var events []message
	for marker := ""; marker == ""; {
		m := await(t, stream, 90*time.Second, "more of the job", func(message) bool { return true })
		if m.name != "" {
			events = append(events, m)
		} else if strings.HasPrefix(m.data, "[") {
			marker = m.data
			if marker != "[DONE]" {
				t.Errorf("the job ended with %s", marker)
			}
		}
	}
	inOrder(t, events, 60)
	died := where.Node
	if q.get("/v1/jobs/"+id, &where); where.Node == died {
		t.Errorf("the job ended at %s, which was killed", died)
	}
}

// inOrder checks that events tell of consecutive steps, up to the last.
func inOrder(t *testing.T, events []message, last int) {
	t.Helper()
	at := 0
	for _, m := range events {
		n := stepIn(t, m)
		if n != 0 && at != 0 && n != at+1 {
			t.Errorf("step %d came after step %d", n, at)
		}
		if n != 0 {
			at = n
		}
	}
	if at != last {
		t.Errorf("the last step was %d, want %d", at, last)
	}
}
