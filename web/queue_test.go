package web

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"waggle/internal/job"
)

// The queue at desktop and phone width, light and dark: what runs, waits and is paused, and what can be done with each.
func TestQueueLooks(t *testing.T) {
	for _, width := range []int{1280, 900, 360} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			b := open(t, width, 900)
			b.visited()
			b.server.park("p", "a pink circle on purple", job.Paused, 7)
			b.server.park("w3", "a green triangle to the left of a purple square on a white background", job.Queued, 0)
			b.server.park("w1", "a white circle on green", job.Queued, 0)
			b.server.park("w2", "a yellow circle on black", job.Queued, 12)
			b.server.park("r", "a red circle on yellow", job.Running, 14)
			b.server.park("q", "a blue circle on white", job.Paused, 0)
			b.load("/")
			b.wait(`document.querySelectorAll('#queue li').length === 6 && document.querySelector('#status').textContent === 'Step 14 of 20'`)
			var rows []string
			b.do(chromedp.Evaluate(`[...document.querySelectorAll('#queue li')].map((li) => [li.querySelector('b'), li.querySelector('small'), ...li.querySelectorAll('.tools :not([hidden]):is(button)')]
				.map((node) => node.ariaLabel?.split(':')[0] ?? node.textContent).join('|'))`, &rows))
			want := []string{
				"a red circle on yellow|step 14 of 20|Pause|Cancel",
				"a white circle on green|waiting|Pause|Cancel",
				"a yellow circle on black|waiting at 12/20|Make the next|Pause|Cancel",
				"a green triangle to the left of a purple square on a white background|waiting|Make the next|Pause|Cancel",
				"a pink circle on purple|paused at 7/20|Resume|Cancel",
				"a blue circle on white|paused|Resume|Cancel",
			}
			for i := range want {
				if i >= len(rows) || rows[i] != want[i] {
					t.Errorf("row %d: %q, want %q", i, rows, want[i])
				}
			}
			for _, scheme := range []string{"light", "dark"} {
				b.scheme(scheme)
				b.shoot(scheme)
			}
			var over int
			b.do(chromedp.Evaluate(`document.documentElement.scrollWidth - innerWidth`, &over))
			if over > 0 {
				t.Errorf("the page is %d px wider than the screen", over)
			}
			b.do(chromedp.Click("#queue li:nth-child(5) .open b"))
			b.wait(`document.querySelector('#status').textContent === 'Paused at step 7 of 20' && document.querySelector('#hold').textContent === 'Resume'`)
			b.shoot("paused")
		})
	}
}

// The queue of the real program is gone through by keyboard and mouse: a job is moved before others, one is paused, one
// cancelled; a reload shows the same; the rest is made in the order shown.
func TestServedQueue(t *testing.T) {
	b := served(t)
	b.send("first", 150, 512)
	b.wait(`/^Step \d+ of 150/.test(document.querySelector('#status').textContent)`)
	for _, prompt := range []string{"second", "third", "fourth"} {
		b.send(prompt, 4, 128)
	}
	b.order("first", "second", "third", "fourth")
	b.do(chromedp.Focus(tool(4, "front")), chromedp.KeyEvent(kb.Enter))
	b.order("first", "fourth", "second", "third")
	b.wait(`document.activeElement.ariaLabel === 'Pause: fourth'`) // it is the next now
	b.do(chromedp.Click(tool(3, "hold")))
	b.wait(state(4, "held"))
	b.order("first", "fourth", "third", "second")
	b.load("/")
	b.order("first", "fourth", "third", "second")
	b.do(chromedp.Focus(tool(1, "drop")), chromedp.KeyEvent(kb.Enter))
	b.wait(`document.querySelectorAll('#tiles li').length === 2`)
	b.order("second")
	b.shoot("paused")
	b.do(chromedp.Click(tool(1, "go-on")))
	b.wait(`document.querySelectorAll('#tiles li').length === 3 && document.querySelector('#queue').hidden`)
	if got, want := b.ends(), []string{"first cancelled", "fourth complete", "third complete", "second complete"}; !slices.Equal(got, want) {
		t.Errorf("in the end: %q, want %q", got, want)
	}
}

// A picture that forms is paused between two steps, and another is made meanwhile; a page that is opened later shows where
// it stopped, and lets it go on.
func TestServedPause(t *testing.T) {
	b := served(t)
	b.send("long", 150, 512)
	b.wait(`/^Step \d+ of 150/.test(document.querySelector('#status').textContent)`)
	b.do(chromedp.Focus("#hold"), chromedp.KeyEvent(kb.Enter))
	b.wait(`/^Paused at step \d+ of 150$/.test(document.querySelector('#status').textContent) && document.querySelector('#hold').textContent === 'Resume'`)
	paused := b.text("#status")
	b.shoot("paused")
	b.send("short", 4, 128)
	b.wait(`document.querySelectorAll('#tiles li').length === 1`)
	b.load("/") // what is not over takes the stage
	b.wait(fmt.Sprintf(`document.querySelector('#status').textContent === %q`, paused))
	b.do(chromedp.Click("#hold"))
	var step int
	if _, err := fmt.Sscanf(paused, "Paused at step %d", &step); err != nil {
		t.Fatal(err)
	}
	b.wait(fmt.Sprintf(`Number(/^Step (\d+) of 150$/.exec(document.querySelector('#status').textContent)?.[1]) > %d && document.querySelector('#hold').textContent === 'Pause'`, step))
	b.do(chromedp.KeyEvent(kb.Escape))
	b.wait(`document.querySelector('#frame').dataset.state === 'cancelled'`)
	if got, want := b.ends(), []string{"short complete", "long cancelled"}; !slices.Equal(got, want) {
		t.Errorf("in the end: %q, want %q", got, want)
	}
}

// served is a tab for the page of the real program.
func served(t *testing.T) *tab {
	t.Helper()
	if os.Getenv("NO_GPU") == "1" {
		t.Skip("NO_GPU=1: the page was not tried with the real server")
	}
	chromium(t)
	b := blank(t, 1280, 900, serve(t))
	b.visited()
	b.load("/")
	return b
}

// ends are the jobs in the order in which they ended, each with its state.
func (b *tab) ends() (ends []string) {
	b.Helper()
	b.do(chromedp.Evaluate(`fetch('/v1/jobs').then((r) => r.json()).then(({ jobs }) => jobs.sort((a, b) => (a.finished < b.finished ? -1 : 1)).map((job) => job.request.prompt + ' ' + job.state))`,
		&ends, func(p *cdpruntime.EvaluateParams) *cdpruntime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return ends
}

// send asks for a picture by the form.
func (b *tab) send(prompt string, steps, width int) {
	b.Helper()
	b.write(prompt)
	b.do(chromedp.SetValue("#steps", fmt.Sprint(steps)), chromedp.SetValue("#width", fmt.Sprint(width)), chromedp.Click("#make"))
	b.wait(`!document.querySelector('#make').disabled`)
}

// order waits until the queue shows these prompts.
func (b *tab) order(prompts ...string) {
	b.Helper()
	b.wait(fmt.Sprintf(`[...document.querySelectorAll('#queue li b')].map((node) => node.textContent).join(' ') === %q`, strings.Join(prompts, " ")))
}

// tool is a button of the n-th job of the queue, from 1.
func tool(n int, name string) string { return fmt.Sprintf("#queue li:nth-child(%d) .%s", n, name) }

// state says that the n-th job of the queue is in a state.
func state(n int, want string) string {
	return fmt.Sprintf(`document.querySelector('#queue li:nth-child(%d)').dataset.state === %q`, n, want)
}
