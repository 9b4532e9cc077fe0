package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	defaultTransport.CloseIdleConnections()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// content is so many bytes that look like no others.
func content(seed uint64, n int) []byte {
	data := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(seed)})
	source.Read(data)
	return data
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// fakeHub is a hub with one repository, own/net.
type fakeHub struct {
	*httptest.Server
	files map[string][]byte // LFS files where they end in .safetensors

	mu       sync.Mutex
	requests []*http.Request
	answer   func(w http.ResponseWriter, r *http.Request, data []byte) // of a file; nil: as it shall be
}

func newHub(t *testing.T, files map[string][]byte) *fakeHub {
	h := &fakeHub{files: files}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.Close)
	return h
}

func (h *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests = append(h.requests, r.Clone(context.Background()))
	h.mu.Unlock()
	if r.URL.Path == "/api/models/own/net/revision/main" {
		h.list(w)
		return
	}
	name, _ := strings.CutPrefix(r.URL.Path, "/own/net/resolve/"+commit+"/")
	data, ok := h.files[name]
	switch {
	case !ok:
		w.Header().Set("X-Error-Message", "Entry not found")
		w.WriteHeader(http.StatusNotFound)
	case h.answer != nil:
		h.answer(w, r, data)
	default:
		serveFile(w, r, data)
	}
}

// serveFile answers as a good server does.
func serveFile(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("ETag", `"`+sha(data)[:16]+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (h *fakeHub) list(w http.ResponseWriter) {
	var siblings []map[string]any
	for name, data := range h.files {
		git := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(data), data))
		s := map[string]any{"rfilename": name, "size": len(data), "blobId": hex.EncodeToString(git[:])}
		if strings.HasSuffix(name, ".safetensors") {
			s["lfs"] = map[string]any{"sha256": sha(data), "size": len(data), "pointerSize": 134}
		}
		siblings = append(siblings, s)
	}
	json.NewEncoder(w).Encode(map[string]any{"id": "own/net", "sha": commit, "siblings": siblings})
}

// asked are the requests for files.
func (h *fakeHub) asked() (files []*http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.requests {
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			files = append(files, r)
		}
	}
	return files
}

// client makes one for which no time passes; what it would wait is in waits.
func (h *fakeHub) client(waits *[]time.Duration) *Client {
	return &Client{Endpoint: h.URL, HTTP: h.Client().Transport, Wait: func(ctx context.Context, d time.Duration) error {
		if waits != nil {
			*waits = append(*waits, d)
		}
		return ctx.Err()
	}}
}

// fetch lists the repository and fetches all of it.
func (h *fakeHub) fetch(t *testing.T, c *Client, dir string) ([]Fetched, error) {
	t.Helper()
	l, err := c.List(t.Context(), "own/net", "main")
	if err != nil {
		t.Fatal(err)
	}
	return c.Fetch(t.Context(), dir, l.Files)
}

// holds fails unless a folder has these files and nothing else.
func holds(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	var found []string
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			found = append(found, filepath.ToSlash(name))
			if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, files[filepath.ToSlash(name)]) {
				t.Errorf("%s: %d bytes that are not the file's, %v", name, len(data), err)
			}
		}
		return nil
	})
	if len(found) != len(files) {
		t.Errorf("the folder holds %v, want %d files", found, len(files))
	}
}

func two() map[string][]byte {
	return map[string][]byte{"unet/model.safetensors": content(1, 700_000), "config.json": []byte(`{"a":1}`)}
}

func TestFetch(t *testing.T) {
	h, dir := newHub(t, two()), filepath.Join(t.TempDir(), "in")
	var done int64
	c := h.client(nil)
	c.Parallel, c.Progress = 1, func(p Progress) { done = max(done, p.Done) }
	got, err := h.fetch(t, c, dir)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, dir, h.files)
	for _, f := range got {
		if f.SHA256 != sha(h.files[f.Path]) || f.Size != int64(len(h.files[f.Path])) {
			t.Errorf("told %+v", f)
		}
	}
	if done != 700_000 {
		t.Errorf("progress went to %d", done)
	}
	before := len(h.asked())
	if _, err := h.fetch(t, c, dir); err != nil || len(h.asked()) != before {
		t.Errorf("a second time: %v, and %d more requests", err, len(h.asked())-before)
	}
}

// A transfer that is cut goes on where it was, in the same process and in the next; one that finds another file begins anew.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(n int, w http.ResponseWriter, r *http.Request, data []byte) // of the n-th request, from 0
		ranges []string                                                         // that were asked for
	}{
		{"cut twice", func(n int, w http.ResponseWriter, r *http.Request, data []byte) {
			serveFile(cutAfter(w, 300_000, n < 2), r, data)
		}, []string{"", "bytes=300000-", "bytes=600000-"}},
		{"no ranges", func(n int, w http.ResponseWriter, r *http.Request, data []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			cutAfter(w, 300_000, n < 1).Write(data)
		}, []string{"", "bytes=300000-"}},
		{"another ETag", func(n int, w http.ResponseWriter, r *http.Request, data []byte) {
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
			http.ServeContent(cutAfter(w, 300_000, n < 1), r, "", time.Time{}, bytes.NewReader(data))
		}, []string{"", "bytes=300000-"}},
		{"another ETag, and If-Range is not heeded", func(n int, w http.ResponseWriter, r *http.Request, data []byte) {
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
			r.Header.Del("If-Range")
			http.ServeContent(cutAfter(w, 300_000, n < 1), r, "", time.Time{}, bytes.NewReader(data))
		}, []string{"", "bytes=300000-", ""}},
		{"a wrong part", func(n int, w http.ResponseWriter, r *http.Request, data []byte) {
			if n == 1 {
				r.Header.Set("Range", "bytes=100-")
			}
			serveFile(cutAfter(w, 300_000, n < 1), r, data)
		}, []string{"", "bytes=300000-", ""}},
		{"less than there was", func(n int, w http.ResponseWriter, r *http.Request, data []byte) {
			if n == 1 {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			serveFile(cutAfter(w, 300_000, n < 1), r, data)
		}, []string{"", "bytes=300000-", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, dir := newHub(t, map[string][]byte{"m.safetensors": content(2, 700_000)}), t.TempDir()
			n := -1
			h.answer = func(w http.ResponseWriter, r *http.Request, data []byte) { n++; c.answer(n, w, r, data) }
			if _, err := h.fetch(t, h.client(nil), dir); err != nil {
				t.Fatal(err)
			}
			holds(t, dir, h.files)
			var ranges []string
			for _, r := range h.asked() {
				ranges = append(ranges, r.Header.Get("Range"))
			}
			if !slices.Equal(ranges, c.ranges) {
				t.Errorf("asked for %q, want %q", ranges, c.ranges)
			}
		})
	}
}

// cutAfter ends a connection after so many bytes of a body, if it shall.
func cutAfter(w http.ResponseWriter, n int, cut bool) http.ResponseWriter {
	if !cut {
		return w
	}
	return &cutter{w, n}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(data []byte) (int, error) {
	n, err := c.ResponseWriter.Write(data[:min(len(data), c.left)])
	if c.left -= n; c.left == 0 || err != nil {
		http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// What one process left the next goes on with, unless it is of no use.
func TestResumeInAnotherProcess(t *testing.T) {
	data := content(3, 500_000)
	for _, c := range []struct {
		name, part, mark string
		want             string // the range asked for
	}{
		{"good", string(data[:1000]), "", "bytes=1000-"},
		{"good with mark", string(data[:1000]), `"` + sha(data)[:16] + `"`, "bytes=1000-"},
		{"wrong bytes", strings.Repeat("x", 1000), "", "bytes=1000-"},
		{"too long", string(data) + "x", "", ""},
		{"mark of another line", string(data[:1000]), "\"a\"\r\nX: y", "bytes=1000-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, dir := newHub(t, map[string][]byte{"m.safetensors": data}), t.TempDir()
			os.WriteFile(filepath.Join(dir, "m.safetensors.part"), []byte(c.part), 0o644)
			os.WriteFile(filepath.Join(dir, "m.safetensors.part.mark"), []byte(c.mark), 0o644)
			if _, err := h.fetch(t, h.client(nil), dir); err != nil {
				t.Fatal(err)
			}
			holds(t, dir, h.files)
			if r := h.asked()[0]; r.Header.Get("Range") != c.want {
				t.Errorf("asked for %q, want %q", r.Header.Get("Range"), c.want)
			}
		})
	}
}

// What is refused, with the reason; nothing has the file's name then.
func TestRefused(t *testing.T) {
	say := func(status int, header ...string) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}
	}
	for _, c := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request, data []byte)
		is     error // may be nil
		want   string
		tries  int
	}{
		{"other bytes", func(w http.ResponseWriter, r *http.Request, data []byte) { serveFile(w, r, content(9, len(data))) }, ErrDamaged, "SHA-256", 2},
		{"longer than listed", func(w http.ResponseWriter, r *http.Request, data []byte) { serveFile(w, r, append(data, 1)) }, ErrDamaged, "promised", 1},
		{"longer, unsaid", func(w http.ResponseWriter, r *http.Request, data []byte) {
			w.(http.Flusher).Flush()
			w.Write(append(data, 1))
		}, ErrDamaged, "more than", 1},
		{"shorter, for ever", func(w http.ResponseWriter, r *http.Request, data []byte) {
			w.(http.Flusher).Flush()
			w.Write(data[:100])
		}, nil, "cut after 100", 3},
		{"401", say(401, "X-Error-Message", "Invalid username or password"), ErrRefused, "HF_TOKEN", 1},
		{"403", say(403, "X-Error-Message", "Access to model is restricted"), ErrRefused, "Access to model is restricted", 1},
		{"404", say(404), ErrNotFound, "not found", 1},
		{"418", say(418), nil, "418", 1},
		{"500 for ever", say(500), nil, "500", 3},
		{"429 for too long", say(429, "Retry-After", "86400"), nil, "24h", 1},
		{"packed", func(w http.ResponseWriter, r *http.Request, data []byte) {
			w.Header().Set("Content-Encoding", "gzip")
			serveFile(w, r, data)
		}, nil, "gzip", 1},
		{"round and round", func(w http.ResponseWriter, r *http.Request, data []byte) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, nil, "redirects", 0},
		{"to a file", func(w http.ResponseWriter, r *http.Request, data []byte) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, nil, "redirected", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, dir := newHub(t, map[string][]byte{"sub/m.safetensors": content(4, 5000)}), t.TempDir()
			h.answer = c.answer
			client := h.client(nil)
			client.Tries = 3
			_, err := h.fetch(t, client, dir)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "sub/m.safetensors") {
				t.Errorf("got %v, want %v with %q", err, c.is, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "sub/m.safetensors")); err == nil {
				t.Error("the file is there")
			}
			if n := len(h.asked()); c.tries > 0 && n != c.tries {
				t.Errorf("%d requests, want %d", n, c.tries)
			}
		})
	}
}

// A busy hub is asked again when it says.
func TestWaits(t *testing.T) {
	h, dir := newHub(t, map[string][]byte{"m.safetensors": content(4, 5000)}), t.TempDir()
	n := 0
	h.answer = func(w http.ResponseWriter, r *http.Request, data []byte) {
		if n++; n < 3 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader([]int{429, 503}[n-1])
			return
		}
		serveFile(w, r, data)
	}
	var waits []time.Duration
	if _, err := h.fetch(t, h.client(&waits), dir); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{7 * time.Second, 7 * time.Second}; !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}
}

// A server that says nothing more is left, and the file gone on with.
func TestStall(t *testing.T) {
	h, dir := newHub(t, map[string][]byte{"m.safetensors": content(4, 5000)}), t.TempDir()
	n := 0
	h.answer = func(w http.ResponseWriter, r *http.Request, data []byte) {
		if n++; n == 1 {
			w.Header().Set("Content-Length", "5000")
			w.Write(data[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		serveFile(w, r, data)
	}
	c := h.client(nil)
	c.Stall = 100 * time.Millisecond
	var notes []string
	c.Progress = func(p Progress) { notes = append(notes, p.Note) }
	if _, err := h.fetch(t, c, dir); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, h.files)
	if !strings.Contains(strings.Join(notes, " "), "nothing came for 100ms") {
		t.Errorf("told %q", notes)
	}
}

// The token goes to the hub alone, and is in no error.
func TestToken(t *testing.T) {
	const token = "hf_secret"
	data := content(5, 4000)
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization")+r.Header.Get("Referer"))
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		serveFile(w, r, data)
	}))
	defer other.Close()
	h, dir := newHub(t, map[string][]byte{"m.safetensors": data}), t.TempDir()
	h.answer = func(w http.ResponseWriter, r *http.Request, data []byte) {
		http.Redirect(w, r, other.URL+"/file?signature="+token, http.StatusFound)
	}
	c := h.client(nil)
	c.Token = token
	if _, err := h.fetch(t, c, dir); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, h.files)
	if len(elsewhere) != 1 || elsewhere[0] != "" {
		t.Errorf("the other host got %q", elsewhere)
	}
	for _, r := range h.requests {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("%s: the hub got %q", r.URL.Path, r.Header.Get("Authorization"))
		}
	}
	h.answer = func(w http.ResponseWriter, r *http.Request, data []byte) {
		http.Redirect(w, r, other.URL+"/gone?signature="+token, http.StatusFound)
	}
	for _, address := range []string{"/gone", "/own/net/resolve/" + commit + "/m.safetensors"} {
		f := File{Path: "x.safetensors", Address: other.URL + address, Size: -1}
		if strings.HasPrefix(address, "/own") {
			f.Address = h.URL + address
		}
		_, err := c.Fetch(t.Context(), dir, []File{f})
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%s: error %v", address, err)
		}
	}
	other.Close()
	if _, err := c.Fetch(t.Context(), dir, []File{{Path: "y.safetensors", Address: h.URL + "/own/net/resolve/" + commit + "/m.safetensors", Size: -1}}); err == nil ||
		strings.Contains(err.Error(), token) {
		t.Errorf("no connection: error %v", err)
	}
	for _, got := range elsewhere {
		if got != "" {
			t.Errorf("the other host got %q", got)
		}
	}
}

// Names that lead elsewhere are not listed, and not fetched by who has them from elsewhere.
func TestNames(t *testing.T) {
	bad := []string{"../up.safetensors", "/etc/x.safetensors", `a\b.safetensors`, "a/../../b.safetensors", "C:x.safetensors", ".hidden", "a//b", "a/./b",
		"con\x00.safetensors", "line\nbreak", "trailing. ", "~x", "-x", strings.Repeat("a/", 9) + "b", strings.Repeat("a", 401), "a/", ""}
	files := map[string][]byte{"good (1)/näme_v1.5.safetensors": content(6, 100)}
	for _, name := range bad {
		files[name] = []byte("x")
		if SafePath(name) {
			t.Errorf("%q is taken", name)
		}
	}
	h, dir := newHub(t, files), t.TempDir()
	l, err := h.client(nil).List(t.Context(), "own/net", "main")
	if err != nil || len(l.Files) != 1 {
		t.Fatalf("listed %+v, %v", l.Files, err)
	}
	if _, err := h.client(nil).Fetch(t.Context(), dir, l.Files); err != nil {
		t.Error(err)
	}
	for _, name := range bad {
		if _, err := h.client(nil).Fetch(t.Context(), dir, []File{{Path: name, Address: l.Files[0].Address, Size: -1}}); err == nil {
			t.Errorf("%q is fetched", name)
		}
	}
	holds(t, dir, map[string][]byte{l.Files[0].Path: files[l.Files[0].Path]})
}

// A link that lies in the folder leads nothing out of it.
func TestLinkOut(t *testing.T) {
	h, dir, outside := newHub(t, two()), t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "unet")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.fetch(t, h.client(nil), dir); err == nil {
		t.Error("fetched through a link")
	}
	holds(t, outside, nil)
}

func TestNoSpace(t *testing.T) {
	h, dir := newHub(t, two()), t.TempDir()
	c := h.client(nil)
	c.Free = func(string) uint64 { return roomLeft + 1000 }
	if _, err := h.fetch(t, c, dir); !errors.Is(err, ErrNoSpace) || len(h.asked()) != 0 {
		t.Errorf("got %v after %d requests", err, len(h.asked()))
	}
	_, err := c.Fetch(t.Context(), dir, []File{{Path: "x", Address: h.URL + "/own/net/resolve/" + commit + "/unet/model.safetensors", Size: -1}})
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("of a size that the server says: %v", err)
	}
}

// Two who fetch the same at once both have it, and it comes once.
func TestTwoAtOnce(t *testing.T) {
	h, dir := newHub(t, two()), filepath.Join(t.TempDir(), "in")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if _, err := h.fetch(t, h.client(nil), dir); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	holds(t, dir, h.files)
	if n := len(h.asked()); n != 2 {
		t.Errorf("%d requests for 2 files", n)
	}
}

func TestCancel(t *testing.T) {
	h, dir := newHub(t, two()), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	h.answer = func(w http.ResponseWriter, r *http.Request, data []byte) { cancel(); <-r.Context().Done() }
	l, err := h.client(nil).List(ctx, "own/net", "main")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.client(nil).Fetch(ctx, dir, l.Files); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	holds(t, dir, nil)
}

func TestListRefuses(t *testing.T) {
	for body, want := range map[string]string{
		`[]`: "not what was expected", `{}`: "no commit", `{"sha":"` + strings.ToUpper(commit) + `"}`: "no commit",
		`{"sha":"` + commit + `","siblings":[{"rfilename":"a","size":-7}]}`:                  "-7 bytes",
		`{"sha":"` + commit + `","siblings":[{"rfilename":"a","size":9000000000000000000}]}`: "bytes",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }))
		_, err := (&Client{Endpoint: s.URL, HTTP: s.Client().Transport}).List(t.Context(), "own/net", "main")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", body, err, want)
		}
		s.Close()
	}
	h := newHub(t, two())
	if _, err := h.client(nil).List(t.Context(), "own/other", "main"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestSplitRepository(t *testing.T) {
	for text, want := range map[string]string{
		"own/net": "own/net main", "own/net@v1": "own/net v1", "gpt2@refs/pr/1": "gpt2 refs/pr/1", "a.b/c-d_e@" + commit: "a.b/c-d_e " + commit,
		"": "", "a/b/c": "", "../x": "", "a/..": "", "a/b@": "", "a/b@..": "", "a b": "", "a/b@x y": "", "a/b?x": "",
	} {
		repository, revision, err := SplitRepository(text)
		if got := strings.TrimSpace(repository + " " + revision); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestChoose(t *testing.T) {
	diffusers := "model_index.json README.md unet/config.json unet/diffusion_pytorch_model.safetensors unet/diffusion_pytorch_model.fp16.safetensors " +
		"unet/diffusion_pytorch_model.bin vae/config.json vae/diffusion_pytorch_model.safetensors text_encoder/config.json text_encoder/pytorch_model.bin " +
		"text_encoder/flax_model.msgpack tokenizer/vocab.json tokenizer/merges.txt tokenizer/tokenizer_config.json scheduler/scheduler_config.json " +
		"safety_checker/model.safetensors big.safetensors unet/onnx/model.onnx"
	for _, c := range []struct {
		name, files string
		choice      Choice
		folder      bool
		want        string // files, or the error
	}{
		{"diffusers", diffusers, Choice{}, true, "model_index.json scheduler/scheduler_config.json text_encoder/config.json text_encoder/pytorch_model.bin " +
			"tokenizer/merges.txt tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json unet/diffusion_pytorch_model.safetensors vae/config.json vae/diffusion_pytorch_model.safetensors"},
		{"fp16", "model_index.json unet/diffusion_pytorch_model.fp16.safetensors unet/diffusion_pytorch_model.safetensors vae/diffusion_pytorch_model.safetensors",
			Choice{Variant: "fp16"}, true, "model_index.json unet/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.safetensors"},
		{"fp16 only", "model_index.json unet/diffusion_pytorch_model.fp16.safetensors", Choice{}, true, "model_index.json unet/diffusion_pytorch_model.fp16.safetensors"},
		{"no such variant", diffusers, Choice{Variant: "int8"}, true, `no variant "int8"`},
		{"shards", "model_index.json unet/diffusion_pytorch_model-00001-of-00002.safetensors unet/diffusion_pytorch_model-00002-of-00002.safetensors " +
			"unet/diffusion_pytorch_model.safetensors.index.json unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors unet/diffusion_pytorch_model.safetensors.index.fp16.json",
			Choice{}, true, "model_index.json unet/diffusion_pytorch_model-00001-of-00002.safetensors unet/diffusion_pytorch_model-00002-of-00002.safetensors unet/diffusion_pytorch_model.safetensors.index.json"},
		{"named", diffusers, Choice{Files: []string{"big.safetensors"}}, false, "big.safetensors"},
		{"named wrongly", diffusers, Choice{Files: []string{"../big.safetensors"}}, false, "big.safetensors"},
		{"alone", "README.md lora.safetensors lora.ckpt config.json", Choice{}, false, "config.json lora.safetensors"},
		{"several", "a.safetensors b.safetensors", Choice{}, false, "--file: a.safetensors, b.safetensors"},
		{"several, one fits", "a.fp16.safetensors a.safetensors", Choice{Variant: "fp16"}, false, "a.fp16.safetensors"},
		{"nothing", "README.md", Choice{}, false, "no weight files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Listing{Repository: "own/net"}
			for name := range strings.FieldsSeq(c.files) {
				l.Files = append(l.Files, File{Path: name})
			}
			got, err := l.Choose(c.choice)
			var names []string
			for _, f := range got.Files {
				names = append(names, f.Path)
			}
			slices.Sort(names)
			text := strings.Join(names, " ")
			if err != nil {
				text = err.Error()
			}
			if err == nil && (text != c.want || got.Folder != c.folder) || err != nil && !strings.Contains(text, c.want) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// Whatever a hub answers: an error, or files whose names are safe.
func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"sha":"` + commit + `","siblings":[{"rfilename":"a/b.safetensors","size":3,"blobId":"` + commit + `","lfs":{"sha256":"ff","size":3}}]}`))
	f.Add([]byte(`{"sha":"` + commit + `","siblings":[{"rfilename":"../b"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := (&Client{}).parseListing("own/net", data)
		if err != nil {
			return
		}
		for _, file := range l.Files {
			root := filepath.FromSlash("/root/in")
			inside, err := filepath.Rel(root, filepath.Join(root, filepath.FromSlash(file.Path)))
			if err != nil || filepath.ToSlash(inside) != file.Path || !strings.HasPrefix(file.Address, DefaultEndpoint+"/own/net/resolve/") {
				t.Fatalf("%q leads to %q, %s", file.Path, inside, file.Address)
			}
		}
		l.Choose(Choice{Variant: "fp16"})
	})
}
