package web

import (
	"bufio"
	"fmt"
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
	b.colour(2, 2, palette["black"].R, palette["black"].G, palette["black"].B)
	b.colour(64, 66, palette["yellow"].R, palette["yellow"].G, palette["yellow"].B)
}

// serve builds and starts the program and returns the page's address.
func serve(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "waggle")
	if text, err := exec.Command("go", "build", "-o", program, "../cmd/waggle").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	command := exec.Command(program, "serve", "--port", "0")
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

// colour compares a pixel of the picture shown: light and shade may change a channel by a fifth.
func (b *tab) colour(x, y int, want ...uint8) {
	b.Helper()
	var got []int
	b.do(chromedp.Evaluate(fmt.Sprintf(`(() => {
		const probe = new OffscreenCanvas(128, 128).getContext('2d', { willReadFrequently: true });
		probe.drawImage(document.querySelector('#picture'), 0, 0);
		return Array.from(probe.getImageData(%d, %d, 1, 1).data);
	})()`, x, y), &got))
	for i := range want {
		if off := got[i] - int(want[i]); off < -51 || off > 51 {
			b.Errorf("pixel %d,%d is %v, want about %v", x, y, got[:3], want)
			return
		}
	}
}
