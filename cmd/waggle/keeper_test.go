//go:build unix

package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/image/webp"

	"waggle/internal/job"
)

// enlist makes a worker known to a queen, as its heartbeat would.
func enlist(q *server, id, model, url string) {
	q.Helper()
	beat := fmt.Sprintf(`{"worker":{"id":%q,"model_id":%q,"device":"GPU-0","port":%s,"status":"ready","implementation":"waggle","version":"0"},"timestamp":"2026-11-24T12:00:00Z"}`,
		id, model, url[strings.LastIndex(url, ":")+1:])
	if a := q.ask(http.MethodPost, "/v1/worker-heartbeat", []byte(beat)); a.status != http.StatusOK {
		q.Fatalf("heartbeat: %d %s", a.status, a.body)
	}
}

// stateOf is a job's state at a server or a queen.
func (s *server) stateOf(id string) job.State {
	s.Helper()
	var r struct{ State job.State }
	s.get("/v1/jobs/"+id, &r)
	return r.State
}

// untilState waits for a job.
func (s *server) untilState(id string, want job.State) {
	s.Helper()
	for deadline := time.Now().Add(commandLimit); s.stateOf(id) != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("%s is %s, want %s", id, s.stateOf(id), want)
		}
	}
}

// TestKeeper drives a queen, and a worker through her, with the program's own commands.
func TestKeeper(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	worker, queen := startServer(t, "serve", "--port", "0"), startQueen(t)
	worker.ready()
	enlist(queen, "bee", "tiny-shapes", worker.url)
	for _, step := range []struct {
		name string
		run  func(t *testing.T, queen, worker *server)
	}{
		{"generate", testKeeperGenerate}, {"programs", testKeeperJSON}, {"transform", testKeeperTransform},
		{"interrupt", testKeeperInterrupt}, {"detach", testKeeperDetach}, {"nobody", testKeeperNobody}, {"terminal", testKeeperTerminal}, {"status", testKeeperStatus},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.run(t, &server{TB: t, url: queen.url, cmd: queen.cmd}, &server{TB: t, url: worker.url, cmd: worker.cmd})
		})
	}
}

// testKeeperGenerate: a queen's pictures are her worker's, whatever else she says.
func testKeeperGenerate(t *testing.T, queen, worker *server) {
	args := []string{"generate", starPrompt, "--seed", "5", "--steps", "4", "--guidance", "5", "--size", "128", "--sampler", "ddim", "--batch", "2", "-o", "out.png", "--server"}
	direct, through := command(t, append(args, worker.url)...), command(t, append(args, queen.url, "--model", "tiny-shapes", "--worker", "bee")...)
	succeed(t, direct)
	o := succeed(t, through)
	for _, name := range []string{"out-1.png", "out-2.png"} {
		if !bytes.Equal(readFile(t, filepath.Join(direct.Dir, name)), readFile(t, filepath.Join(through.Dir, name))) {
			t.Errorf("%s: the queen's picture is another", name)
		}
	}
	if o.out != "" || !strings.Contains(o.err, "step 8 of 8") || strings.Contains(o.err, "Looking for") || strings.Contains(o.err, "\x1b") {
		t.Errorf("what is said in a pipe: %q, %q", o.out, o.err)
	}
}

func testKeeperJSON(t *testing.T, queen, _ *server) {
	c := command(t, "generate", starPrompt, "--steps", "2", "--size", "64", "--json", "--server", queen.url)
	o := succeed(t, c)
	var kinds []string
	for _, l := range lines(t, o.out) {
		if len(kinds) == 0 || kinds[len(kinds)-1] != l.Type {
			kinds = append(kinds, l.Type)
		}
	}
	if got := strings.Join(kinds, " "); got != "start narration state progress complete" || o.err != "" {
		t.Errorf("lines %s, standard error %q", got, o.err)
	}
	if !strings.Contains(o.out, `"action":"image_schedule","human":"Looking for a worker with model 'tiny-shapes'"`) {
		t.Errorf("the narrations: %s", o.out)
	}
}

// testKeeperTransform: what a worker cannot do yet fails in its stream, and so does the command, directly and through a queen.
func testKeeperTransform(t *testing.T, queen, worker *server) {
	dir := t.TempDir()
	in, mask := filepath.Join(dir, "in.png"), filepath.Join(dir, "mask.png")
	for _, path := range []string{in, mask} {
		writePNG(t, path, 64, 64)
	}
	for _, s := range []*server{worker, queen} {
		for _, args := range [][]string{
			{"transform", starPrompt, "--input", in, "--strength", "0.5"},
			{"inpaint", starPrompt, "--input", in, "--mask", mask},
		} {
			c := command(t, append(args, "--model", "tiny-shapes", "--server", s.url, "--json")...)
			o := finish(t, c)
			if o.code != exitFailed || len(entries(t, c.Dir)) > 0 {
				t.Errorf("exit code %d, files %q", o.code, entries(t, c.Dir))
			}
			oneClearLine(t, o.err, "job-", " failed: ", "image_"+args[0])
		}
	}
}

func writePNG(t testing.TB, path string, width, height int) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// testKeeperInterrupt: Ctrl-C cancels at the queen, and so at the worker.
func testKeeperInterrupt(t *testing.T, queen, worker *server) {
	c := command(t, "generate", starPrompt, "--steps", "150", "--size", "128", "--batch", "64", "--json", "--server", queen.url)
	o := interruptAt(t, c, syscall.SIGINT, func(l line) bool { return l.Type == "progress" })
	if o.code != exitInterrupted || len(entries(t, c.Dir)) > 0 {
		t.Errorf("exit code %d, files %q", o.code, entries(t, c.Dir))
	}
	oneClearLine(t, o.err, "interrupted and cancelled job-")
	queen.untilState(o.err[strings.Index(o.err, "job-"):len(o.err)-1], job.Cancelled)
	var list struct{ Jobs []struct{ ID string } }
	worker.get("/v1/jobs?limit=1", &list)
	worker.untilState(list.Jobs[0].ID, job.Cancelled)
}

// testKeeperDetach: a job that is left at a queen has begun.
func testKeeperDetach(t *testing.T, queen, _ *server) {
	o := succeed(t, command(t, "generate", starPrompt, "--steps", "2", "--size", "64", "--detach", "--server", queen.url))
	id := strings.TrimSpace(o.out)
	queen.untilState(id, job.Complete)
	succeed(t, queen.jobs(t, "watch", id))
	if o := succeed(t, queen.jobs(t, "list", "--state", "failed")); strings.Contains(o.out, id) {
		t.Errorf("among those that failed: %s", o.out)
	}
	fail(t, queen.jobs(t, "rm", id), exitFailed, id, "takes no such order", "queen")
}

// testKeeperNobody: no worker that fits is a failure in the queen's words.
func testKeeperNobody(t *testing.T, queen, _ *server) {
	c := command(t, "generate", starPrompt, "--worker", "wasp", "--json", "--server", queen.url)
	o := finish(t, c)
	if oneClearLine(t, o.err, "failed: ", "No available worker found for model 'tiny-shapes'"); o.code != exitFailed {
		t.Errorf("exit code %d", o.code)
	}
}

// pngText is a small picture as events carry it.
func pngText(t *testing.T, width, height int) string {
	path := filepath.Join(t.TempDir(), "p.png")
	writePNG(t, path, width, height)
	return base64.StdEncoding.EncodeToString(readFile(t, path))
}

func completed(image string) string {
	return fmt.Sprintf("event: complete\ndata: {\"type\":\"complete\",\"image\":%q,\"format\":\"png\"}\n\n", image)
}

// TestKeeperForeignWorker: a worker that knows no more than the protocol, with a queen before it and without.
func TestKeeperForeignWorker(t *testing.T) {
	t.Parallel()
	good := completed(pngText(t, 8, 8))
	f, queen := newWorker(t), startQueen(t)
	enlist(queen, "bee", "m", f.URL)
	var stream atomic.Value // string
	f.says(func(w io.Writer, _ *http.Request) { io.WriteString(w, stream.Load().(string)) })
	for _, row := range []struct {
		name, stream string
		args, words  []string // no words: success
	}{
		{"a picture", good, nil, nil},
		{"a picture and its marker", good + "data: [DONE]\n\n", nil, nil},
		{"fewer than asked for", good, []string{"--batch", "2"}, []string{"1 pictures instead of 2"}},
		{"no PNG", completed("AAAA"), nil, []string{"no PNG"}},
		{"no base64", completed("%%%"), nil, []string{"not base64"}},
		{"no picture", "event: complete\ndata: {\"type\":\"complete\"}\n\n", nil, []string{"no PNG"}},
		{"an error", "event: error\ndata: {\"type\":\"error\",\"message\":\"the GPU is on\\n\\u001b[31mfire\"}\n\ndata: [ERROR] the GPU is on fire\n\n", nil, []string{" failed: ", "the GPU is on", "fire"}},
		{"a marker alone", "event: progress\ndata: {\"type\":\"progress\",\"step\":1,\"total\":2}\n\ndata: [ERROR] out of honey\n\n", nil, []string{" failed: ", "out of honey"}},
		{"cancelled by another", "event: error\ndata: {\"type\":\"error\",\"message\":\"Job cancelled by user\"}\n\ndata: [CANCELLED]\n\n", nil, []string{"was cancelled"}},
	} {
		for where, url := range map[string]string{"worker": f.URL, "queen": queen.url} {
			t.Run(row.name+", "+where, func(t *testing.T) {
				stream.Store(row.stream)
				c := command(t, append([]string{"generate", "a lighthouse", "--model", "m", "--json", "-o", "out.png", "--server", url}, row.args...)...)
				o := finish(t, c)
				if row.words == nil {
					if o.code != exitOK || !slices.Equal(entries(t, c.Dir), []string{"out.png"}) {
						t.Errorf("exit code %d, files %q, %s", o.code, entries(t, c.Dir), o.err)
					}
					return
				}
				if oneClearLine(t, o.err, row.words...); o.code != exitFailed || strings.Contains(o.err, "\x1b") {
					t.Errorf("exit code %d, %q", o.code, o.err)
				}
			})
		}
	}
	t.Run("whose models are not known", func(t *testing.T) {
		in := filepath.Join(t.TempDir(), "in.png")
		writePNG(t, in, 64, 64)
		fail(t, command(t, "transform", "x", "--input", in, "--server", f.URL), exitFailed, "--model")
	})
}

// pictureFiles makes pictures of all kinds of sizes, and files that are none.
func pictureFiles(t *testing.T) (path func(name string) string) {
	t.Helper()
	dir := t.TempDir()
	path = func(name string) string { return filepath.Join(dir, name) }
	for name, size := range map[string]image.Point{"in.png": {96, 64}, "small.png": {64, 56}, "wide.png": {2056, 64}, "dot.png": {1, 1}} {
		writePNG(t, path(name), size.X, size.Y)
	}
	for name, data := range map[string][]byte{"notes.png": []byte("these are notes"), "half.png": readFile(t, path("in.png"))[:60]} {
		if err := os.WriteFile(path(name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestKeeperSendsPictures: pictures go out as they are, WebP as PNG.
func TestKeeperSendsPictures(t *testing.T) {
	t.Parallel()
	f, path, answer := newWorker(t), pictureFiles(t), completed(pngText(t, 8, 8))
	f.says(func(w io.Writer, _ *http.Request) { io.WriteString(w, answer) })
	send := func(mask string) (sent map[string]any) {
		succeed(t, command(t, "inpaint", "a boat", "--input", path("in.png"), "--mask", mask, "--model", "m", "--hive", "garden", "--worker", "w", "--json", "--server", f.URL))
		decodeLine(t, received(t, f.posts, time.Minute, "operation"), &sent)
		return sent
	}
	sent := send(path("dot.png"))
	want := map[string]any{"operation": "image_inpaint", "hive_id": "garden", "worker_id": "w", "model": "m", "prompt": "a boat", "steps": 20.0, "guidance_scale": 7.5,
		"init_image": base64.StdEncoding.EncodeToString(readFile(t, path("in.png"))), "mask_image": base64.StdEncoding.EncodeToString(readFile(t, path("dot.png"))),
		"width": nil, "strength": nil}
	for name, value := range want {
		if sent[name] != value {
			t.Errorf("%s: %.100v, want %.100v", name, sent[name], value)
		}
	}

	file, err := filepath.Abs("../../internal/picture/testdata/lossless.webp")
	if err != nil {
		t.Fatal(err)
	}
	img, err := webp.Decode(bytes.NewReader(readFile(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	mask, err := base64.StdEncoding.DecodeString(send(file)["mask_image"].(string))
	if got, pngErr := png.Decode(bytes.NewReader(mask)); err != nil || pngErr != nil || got.Bounds() != img.Bounds() {
		t.Errorf("a WebP file is sent as %.20q: %v, %v", mask, err, pngErr)
	}
}

// TestKeeperMistakes: what is wrong with flags and files is found before anybody is asked.
func TestKeeperMistakes(t *testing.T) {
	t.Parallel()
	f, path := newWorker(t), pictureFiles(t)
	for _, row := range []struct {
		args  []string
		code  int
		words []string
	}{
		{[]string{"transform", "x", "--input", path("in.png")}, exitFailed, []string{"--server"}},
		{[]string{"transform", "x", "--server", f.URL}, exitUsage, []string{"--input"}},
		{[]string{"inpaint", "x", "--input", path("in.png"), "--server", f.URL}, exitUsage, []string{"--mask"}},
		{[]string{"transform", "x", "--input", path("none.png"), "--server", f.URL}, exitFailed, []string{"--input", path("none.png"), "no such file"}},
		{[]string{"transform", "x", "--input", path(""), "--server", f.URL}, exitFailed, []string{"--input", path(""), "directory"}},
		{[]string{"transform", "x", "--input", path("notes.png"), "--server", f.URL}, exitFailed, []string{"--input", "notes.png", "not a PNG, JPEG or WebP"}},
		{[]string{"transform", "x", "--input", path("half.png"), "--server", f.URL}, exitFailed, []string{"--input", "half.png", "damaged"}},
		{[]string{"transform", "x", "--input", path("small.png"), "--server", f.URL}, exitFailed, []string{"--input", "small.png", "64×56", "64 to 2048"}},
		{[]string{"inpaint", "x", "--input", path("in.png"), "--mask", path("wide.png"), "--server", f.URL}, exitFailed, []string{"--mask", "wide.png", "2056×64", "2048"}},
		{[]string{"transform", "x", "--input", "/dev/zero", "--server", f.URL}, exitFailed, []string{"--input", "/dev/zero", "48 MB"}},
		{[]string{"transform", "x", "--input", path("in.png"), "--strength", "1.5", "--server", f.URL}, exitFailed, []string{"strength", "0 to 1", "1.5"}},
		{[]string{"transform", "x", "--input", path("in.png"), "-o", "no/where.png", "--server", f.URL}, exitFailed, []string{"--output", "no"}},
		{[]string{"generate", "x", "--worker", "w"}, exitFailed, []string{"--worker", "--server"}},
	} {
		t.Run(strings.Join(row.args[:1], " ")+" "+strings.Join(row.words, " "), func(t *testing.T) {
			fail(t, command(t, row.args...), row.code, row.words...)
		})
	}
	if len(f.posts) > 0 {
		t.Errorf("the server was asked nevertheless: %s", <-f.posts)
	}
}
