package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	cdppage "github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// countFrames records what is drawn on canvases: one entry a drawing that
// differs from the one before.
const countFrames = `
window.frames_ = [];
for (const name of ['putImageData', 'drawImage']) {
  const original = CanvasRenderingContext2D.prototype[name];
  CanvasRenderingContext2D.prototype[name] = function (...args) {
    original.apply(this, args);
    const { width, height } = this.canvas;
    const probe = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    probe.drawImage(this.canvas, 0, 0);
    window.pixel = (x, y) => Array.from(probe.getImageData(x, y, 1, 1).data);
    const text = width + 'x' + height + ':' + probe.getImageData(0, 0, width, height).data.join();
    if (window.frames_.at(-1) !== text) window.frames_.push(text);
  };
}
window.violations = [];
document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.violatedDirective + ' ' + e.blockedURI));
`

// chromium finds the browser. Its absence fails the test: install it, or skip by NO_BROWSER=1.
func chromium(t *testing.T) string {
	t.Helper()
	if os.Getenv("NO_BROWSER") == "1" {
		t.Skip("NO_BROWSER=1: the page was not tried in a browser")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium found: apt-get install chromium, or NO_BROWSER=1 to leave these tests out")
	return ""
}

// elsewhere is a name of this machine that browsers do not know to be one.
const elsewhere = "studio.example"

// startBrowser starts one process for all tests of this package; it ends with the test binary.
var startBrowser = sync.OnceValues(func() (context.Context, error) {
	path, err := exec.LookPath("chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.Flag("headless", "new"), chromedp.Flag("disable-quic", true), chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("host-resolver-rules", "MAP "+elsewhere+" 127.0.0.1"))
	if err == nil {
		options = append(options, chromedp.ExecPath(path))
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	closeBrowser = func() { cancel(); stop() }
	return ctx, chromedp.Run(ctx)
})

var closeBrowser = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	closeBrowser()
	os.Exit(code)
}

// withWasm is the embedded files with the program built from the sources of now.
var withWasm = sync.OnceValues(func() (fs.FS, error) {
	dir, err := os.MkdirTemp("", "wasm")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, wasmName)
	build := exec.Command("go", "build", "-o", out, "../wasm")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the program: %w\n%s", err, text)
	}
	files := fstest.MapFS{}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	loader := filepath.Join(strings.TrimSpace(string(root)), "lib/wasm", loaderName)
	for name, from := range map[string]string{wasmName: out, loaderName: loader} {
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		files["static/"+name] = &fstest.MapFile{Data: data}
	}
	return files, fs.WalkDir(embedded, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), wasmName) || strings.HasPrefix(entry.Name(), loaderName) {
			return err
		}
		data, err := fs.ReadFile(embedded, name)
		files[name] = &fstest.MapFile{Data: data}
		return err
	})
})

// tab is a fresh browser profile with the page's server.
type tab struct {
	*testing.T
	ctx    context.Context
	server *scripted
	url    string

	mu       sync.Mutex
	problems []string
}

// open starts a scripted server and a tab of the given size.
func open(t *testing.T, width, height int) *tab {
	t.Helper()
	chromium(t)
	source, err := withWasm()
	if err != nil {
		t.Fatal(err)
	}
	page, err := newHandler(Options{}, source)
	if err != nil {
		t.Fatal(err)
	}
	server := newScripted(page)
	listener := httptest.NewServer(server.handler())
	t.Cleanup(listener.Close)
	b := blank(t, width, height, listener.URL)
	b.server = server
	return b
}

// blank opens a tab for the page at an address; it fails the test for
// anything the browser complains of.
func blank(t *testing.T, width, height int, url string) *tab {
	t.Helper()
	browser, err := startBrowser()
	if err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	b := &tab{T: t, url: url}
	b.newTab(browser, int64(width), int64(height))
	return b
}

func (b *tab) newTab(browser context.Context, width, height int64) {
	id, err := newProfile(browser)
	if err != nil {
		b.Fatalf("open a window: %v", err)
	}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithTargetID(id))
	b.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	b.Cleanup(stop)
	b.ctx = ctx
	chromedp.ListenTarget(ctx, b.listen)
	b.do(log.Enable(), chromedp.EmulateViewport(width, height),
		chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := cdppage.AddScriptToEvaluateOnNewDocument(countFrames).Do(ctx)
			return err
		}))
	b.Cleanup(b.verdict)
}

// newProfile opens a window with storage of its own.
func newProfile(browser context.Context) (target.ID, error) {
	ctx := cdp.WithExecutor(browser, chromedp.FromContext(browser).Browser)
	profile, err := target.CreateBrowserContext().WithDisposeOnDetach(true).Do(ctx)
	if err != nil {
		return "", err
	}
	return target.CreateTarget("about:blank").WithBrowserContextID(profile).WithNewWindow(true).Do(ctx)
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *cdpruntime.EventExceptionThrown:
		b.problems = append(b.problems, "exception: "+e.ExceptionDetails.Error())
	case *cdpruntime.EventConsoleAPICalled:
		for _, arg := range e.Args {
			b.problems = append(b.problems, fmt.Sprintf("console.%s: %s %s", e.Type, arg.Value, arg.Description))
		}
	case *log.EventEntryAdded:
		b.problems = append(b.problems, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

// forgive drops the complaints that a test provoked.
func (b *tab) forgive(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.problems[:0]
	for _, problem := range b.problems {
		if !strings.Contains(problem, part) {
			kept = append(kept, problem)
		}
	}
	b.problems = kept
}

func (b *tab) verdict() {
	var violations []string
	b.do(chromedp.Evaluate(`window.violations ?? []`, &violations))
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range append(b.problems, violations...) {
		b.Errorf("the browser complains: %s", problem)
	}
}

func (b *tab) do(actions ...chromedp.Action) {
	b.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.shoot("failed")
		b.Fatalf("browser: %v", err)
	}
}

// wait waits until a JavaScript expression is true, and tells its state when it does not become so.
func (b *tab) wait(expression string) {
	b.Helper()
	var state string
	err := chromedp.Run(b.ctx, chromedp.Poll(expression, nil, chromedp.WithPollingTimeout(15*time.Second), chromedp.WithPollingInterval(20*time.Millisecond)))
	if err == nil {
		return
	}
	b.shoot("failed")
	_ = chromedp.Run(b.ctx, chromedp.Evaluate(`document.body.innerText`, &state))
	b.Fatalf("%s did not become true (%v); the page says:\n%s", expression, err, state)
}

func (b *tab) text(selector string) (text string) {
	b.Helper()
	b.do(chromedp.Evaluate(fmt.Sprintf(`document.querySelector(%q).textContent.replace(/\s+/g, ' ').trim()`, selector), &text))
	return text
}

// done waits until the final picture is on the stage, loaded and faded in.
func (b *tab) done() {
	b.Helper()
	b.wait(`document.querySelector('#frame').dataset.state === 'done' && !document.querySelector('#picture').hidden && document.querySelector('#picture').naturalWidth === 128 && document.querySelector('#picture').getAnimations().length === 0`)
}

func (b *tab) frames() (n int) {
	b.Helper()
	b.do(chromedp.Evaluate(`new Set(window.frames_).size`, &n))
	return n
}

// write replaces the prompt as a person would.
func (b *tab) write(prompt string) {
	b.Helper()
	b.do(chromedp.Evaluate(`document.querySelector('#prompt').value = ''; document.querySelector('#prompt').focus()`, nil),
		chromedp.SendKeys("#prompt", prompt))
}

// visited marks the profile, so that the page does not make its example by itself.
func (b *tab) visited() {
	b.do(chromedp.Navigate(b.url+"/static/icon.svg"), chromedp.Evaluate(`localStorage.setItem('waggle.visited', '1')`, nil))
}

func (b *tab) load(path string) {
	b.Helper()
	b.do(chromedp.Navigate(b.url + path))
	b.wait(`document.querySelector('#link').dataset.state === 'open' && document.querySelector('#model').options.length > 0`)
}

func (b *tab) scheme(name string) {
	b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}))
}

// shoot writes a screenshot into the folder that SCREENSHOTS names.
func (b *tab) shoot(name string) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	var png []byte
	if err := chromedp.Run(b.ctx, chromedp.FullScreenshot(&png, 100)); err != nil {
		b.Logf("no screenshot: %v", err)
		return
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, strings.ReplaceAll(b.Name(), "/", "-")+"-"+name+".png"), png, 0o644)); err != nil {
		b.Error(err)
	}
}
