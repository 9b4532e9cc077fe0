//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"waggle/internal/job"
	"waggle/internal/queen"
)

// testKeeperStatus: a queen tells of her workers and jobs, a worker of itself; both in tables and in JSON.
func testKeeperStatus(t *testing.T, queen, worker *server) {
	id, stream := queen.post(star(fields{"steps": 150, "batch": 64}))
	events := queen.openStream(stream)
	await(t, events, commandLimit, "step", func(m message) bool { return m.name == "progress" })
	o := succeed(t, command(t, "status", "--server", queen.url))
	for _, text := range []string{" at " + queen.url + ": 0 hives, 1 worker, 1 job under way\n", "\nbee ", "1 running  tiny-shapes  ", "  GPU-0\n", "\n" + id + "  running  "} {
		if !strings.Contains(o.out, text) {
			t.Errorf("no %q in\n%s", text, o.out)
		}
	}
	var q struct {
		Server  string
		Workers []job.NodeReport
		Jobs    []jobStatus
	}
	decodeLine(t, succeed(t, command(t, "status", "--json", "--server", queen.url)).out, &q)
	if q.Server != "queen" || len(q.Workers) != 1 || q.Workers[0].Load.Running != 1 || len(q.Jobs) != 1 || string(q.Jobs[0].ID) != id || q.Jobs[0].Model != "tiny-shapes" {
		t.Errorf("a queen's status: %+v", q)
	}
	queen.ask(http.MethodDelete, "/v1/jobs/"+id, nil)

	o = succeed(t, command(t, "status", "--server", worker.url))
	for _, text := range []string{"worker ", ": ready\n", "\ndevices  ", "\nmodels   tiny-shapes\n", "\nversion  waggle "} {
		if !strings.Contains(o.out, text) {
			t.Errorf("no %q in\n%s", text, o.out)
		}
	}
	var nodes []job.NodeReport
	decodeLine(t, succeed(t, command(t, "nodes", "--json", "--server", worker.url)).out, &nodes)
	table := succeed(t, command(t, "nodes", "--server", worker.url)).out
	if len(nodes) != 1 || !nodes[0].Status.Available() || nodes[0].Since.IsZero() || len(nodes[0].Models) != 1 || !strings.Contains(table, "\n"+nodes[0].ID+"  ") || !strings.HasPrefix(table, "ID  ") {
		t.Errorf("nodes %+v\n%s", nodes, table)
	}
}

func decodeLine(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

// TestStatusOfOthers asks servers that know no more than the protocol, and some that are none of its.
func TestStatusOfOthers(t *testing.T) {
	t.Parallel()
	answers := func(routes map[string]string) string {
		m := http.NewServeMux()
		for pattern, text := range routes {
			m.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
				status, body, _ := strings.Cut(text, " ")
				var code int
				fmt.Sscan(status, &code)
				w.WriteHeader(code)
				io.WriteString(w, body)
			})
		}
		s := httptest.NewServer(m)
		t.Cleanup(s.Close)
		return s.URL
	}
	const info = `200 {"base_url":"http://x","port":1,"version":"9","features":[]}`
	queen := answers(map[string]string{
		"GET /v1/info": info, "POST /v1/jobs": `200 {"job_id":"j","sse_url":"/v1/jobs/j/stream"}`,
		"GET /v1/jobs/j/stream": `200 data: {"type":"narration","actor":"queen","action":"status","human":"Live \u001b[31mstatus: 1 hives, 2 workers"}` + "\n\ndata: [DONE]\n\n"})
	failing := answers(map[string]string{
		"GET /v1/info": info, "POST /v1/jobs": `200 {"job_id":"j","sse_url":"/v1/jobs/j/stream"}`, "GET /v1/jobs/j/stream": "200 data: [ERROR] out of honey\n\n"})
	loading := answers(map[string]string{"GET /ready": `503 {"ready":false,"reason":"model loading"}`})
	for _, row := range []struct {
		name, verb, url string
		code            int
		words           []string
	}{
		{"a queen that has words alone", "status", queen, exitOK, []string{"queen 9 at ", "Live [31mstatus: 1 hives, 2 workers\n"}},
		{"a queen that fails", "status", failing, exitFailed, []string{"out of honey"}},
		{"a worker that loads", "status", loading, exitOK, []string{": not ready: model loading\n"}},
		{"a worker that names no nodes", "nodes", loading, exitFailed, []string{"waggle status"}},
		{"one that wants a token", "status", answers(map[string]string{"/": `401 {"error":{"code":"unauthorized","message":"wants a token"}}`}), exitFailed, []string{"wants a token"}},
		{"a web site", "status", answers(map[string]string{"/": "200 <!doctype html>"}), exitFailed, []string{"/v1/info"}},
		{"something else", "status", answers(nil), exitFailed, []string{"neither a queen nor a worker"}},
		{"nobody", "status", "http://127.0.0.1:1", exitFailed, []string{"no answer", "--server"}},
		{"nobody to list", "nodes", "http://127.0.0.1:1", exitFailed, []string{"no answer", "--server"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := command(t, row.verb, "--server", row.url)
			if row.code != exitOK {
				fail(t, c, row.code, row.words...)
				return
			}
			o := succeed(t, c)
			for _, text := range row.words {
				if !strings.Contains(strings.ReplaceAll(o.out, "Live  ", "Live "), text) {
					t.Errorf("no %q in %q", text, o.out)
				}
			}
		})
	}
	t.Run("a queen without her cluster", func(t *testing.T) {
		url := answers(map[string]string{"GET /v1/nodes": `200 {"nodes":[],"problem":"the cluster \u001b[31mis away"}`})
		if o := succeed(t, command(t, "nodes", "--server", url)); o.out != "no nodes\n" || !strings.Contains(o.err, "is away") || strings.Contains(o.err, "\x1b") {
			t.Errorf("%q, %q", o.out, o.err)
		}
	})
}

// TestStatusOfHives: a hive that is there, with its worker, and one that is not.
func TestStatusOfHives(t *testing.T) {
	t.Parallel()
	h, w := newHive(t), newWorker(t)
	asked := startQueen(t, "--hive", "shed=http://127.0.0.1:1")
	h.join(asked, w)
	o := succeed(t, command(t, "status", "--server", asked.url))
	for _, text := range []string{": 2 hives, 1 worker, 0 jobs under way\n", "\nhive-1  online ", "\nshed    lost ", "refused", "\nllm-" + w.port() + "  ready  none  m  "} {
		if !strings.Contains(o.out, text) {
			t.Errorf("no %q in\n%s", text, o.out)
		}
	}
	var q struct {
		Hives    int
		HiveList []queen.HiveStatus `json:"hive_list"`
	}
	decodeLine(t, succeed(t, command(t, "status", "--json", "--server", asked.url)).out, &q)
	if q.Hives != 2 || len(q.HiveList) != 2 || q.HiveList[0].ID != "hive-1" || !q.HiveList[0].Online || q.HiveList[0].Workers != 1 || q.HiveList[1].Online {
		t.Errorf("hives: %+v", q)
	}
}

// TestKeeperOnCluster: a queen of a cluster knows her nodes' models, so that no flag has to name one or what suits it.
func TestKeeperOnCluster(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	s := newSwarm(t)
	node := s.node("bee-1")
	queen := s.queen(1)
	args := []string{"generate", starPrompt, "--seed", "5", "--steps", "4", "-o", "out.png", "--server"}
	direct, through := command(t, append(args, node.url)...), command(t, append(args, queen.url)...)
	succeed(t, direct)
	if o := succeed(t, through); strings.Contains(o.err, "does not say") || !strings.Contains(o.err, "128×128, 4 steps of ddim") {
		t.Errorf("said %q", o.err)
	}
	if !bytes.Equal(readFile(t, filepath.Join(direct.Dir, "out.png")), readFile(t, filepath.Join(through.Dir, "out.png"))) {
		t.Error("the queen's picture is another")
	}
	for _, verb := range []string{"nodes", "status"} {
		o := succeed(t, command(t, verb, "--server", queen.url))
		if !strings.Contains(o.out, "\nbee-1  ") || !strings.Contains(o.out, "  tiny-shapes  ") || strings.Contains(o.out, "ADDRESS") {
			t.Errorf("%s:\n%s", verb, o.out)
		}
	}
}
