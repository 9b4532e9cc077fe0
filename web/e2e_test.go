package web

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"waggle/internal/builtin"
)

// The whole program: a prompt typed into the page of a served waggle becomes
// a picture of what it says, and is seen forming.
func TestServedPage(t *testing.T) {
	if os.Getenv("NO_GPU") == "1" {
		t.Skip("NO_GPU=1: the page was not tried with the real server")
	}
	chromium(t)
	b := blank(t, 1280, 900, serve(t))
	b.load("/")
	b.done()
	b.write("a yellow star on a black background")
	b.do(chromedp.Evaluate(`window.frames_ = []`, nil), chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(2)))
	b.wait(`document.querySelector('#frame').dataset.state !== 'done'`)
	b.shoot("forming")
	b.wait(`document.querySelectorAll('#tiles li').length === 2`) // the example and this one
	b.done()
	b.shoot("done")
	if got := b.frames(); got < 5 {
		t.Errorf("%d distinct previews were drawn, want at least 5", got)
	}
	scene, _ := builtin.ParsePrompt("a yellow star on a black background")
	if verdict, err := builtin.Check(b.shown(), scene); err != nil || !verdict.Right() {
		t.Errorf("the picture on the page is %v, %v", verdict, err)
	}
}

// serve builds and starts the program and returns the page's address.
func serve(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "waggle")
	if text, err := exec.Command("go", "build", "-o", program, "../cmd/waggle").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	command := exec.Command(program, "serve", "--port", "0", "--data", t.TempDir())
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems strings.Builder
	command.Stderr = &problems
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, command, &problems) })
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if address := regexp.MustCompile(`http://[0-9.:]+`).FindString(lines.Text()); address != "" {
			return address
		}
	}
	_ = command.Wait()
	t.Fatalf("the program ended without an address: %s", problems.String())
	return ""
}

// stop ends the program as Ctrl-C does, which it must obey at once.
func stop(t *testing.T, command *exec.Cmd, problems *strings.Builder) {
	_ = command.Process.Signal(syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = command.Process.Kill()
		t.Errorf("the program did not end after an interrupt")
	}
	if t.Failed() {
		t.Logf("the program says: %s", problems.String())
	}
}

// shown is the picture on the page, as the browser has it.
func (b *tab) shown() image.Image {
	b.Helper()
	var address string
	b.do(chromedp.Evaluate(`(() => {
		const canvas = document.createElement('canvas');
		const picture = document.querySelector('#picture');
		[canvas.width, canvas.height] = [picture.naturalWidth ?? picture.width, picture.naturalHeight ?? picture.height];
		canvas.getContext('2d').drawImage(picture, 0, 0);
		return canvas.toDataURL();
	})()`, &address))
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(address, "data:image/png;base64,"))
	if err != nil {
		b.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	return img
}
