package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"waggle/internal/job"
)

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.order)
}

func (s *scripted) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *scripted) last() job.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[s.order[len(s.order)-1]].record
}

// The first visit makes the example at once and shows it forming; a reload does not make it again.
func TestFirstVisitMakesTheExample(t *testing.T) {
	b := open(t, 1280, 900)
	b.load("/")
	b.done()
	if got := b.frames(); got < 5 {
		t.Errorf("%d distinct previews were drawn, want at least 5", got)
	}
	record := b.server.last()
	if record.Request.Prompt != builtinExamples()[0] || record.Request.Sampler != "ddim" || record.Request.Width != 128 {
		t.Errorf("the example was asked for as %+v", record.Request)
	}
	if !strings.Contains(b.text("#details"), "18446744073709551557") {
		t.Errorf("the seed is not exact in %q", b.text("#details"))
	}
	b.load("/")
	b.done()
	if n := b.server.count(); n != 1 {
		t.Errorf("%d jobs after a reload, want 1", n)
	}
}

func TestTypedPromptBecomesAPicture(t *testing.T) {
	b := open(t, 1280, 900)
	b.visited()
	b.load("/")
	b.write("a yellow star on a black background")
	b.do(chromedp.SetValue("#seed", "4242"), chromedp.SetValue("#steps", "12"), chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(2)))
	b.wait(`document.querySelector('#frame').dataset.state === 'forming'`)
	b.done()
	request := b.server.last().Request
	if request.Prompt != "a yellow star on a black background" || request.Seed == nil || *request.Seed != 4242 || request.Steps != 12 || request.GuidanceScale != 5 {
		t.Errorf("asked for %+v", request)
	}
	if got := b.frames(); got < 5 {
		t.Errorf("%d distinct previews, want at least 5", got)
	}
	var link string
	b.do(chromedp.Evaluate(`document.querySelector('#download').download + ' ' + document.querySelector('#download').getAttribute('href')`, &link))
	if want := fmt.Sprintf("waggle-4242.png /v1/jobs/%s/image", b.server.last().ID); link != want {
		t.Errorf("download is %q, want %q", link, want)
	}
	for _, want := range []string{"4242", "128 × 128", "DDIM", "tiny-shapes"} {
		if !strings.Contains(b.text("#details"), want) {
			t.Errorf("details lack %q: %q", want, b.text("#details"))
		}
	}
	b.wait(`document.querySelectorAll('#tiles li').length === 1`)
}

// The last preview, before the picture, has the colours of the picture: the whole path of numbers is right.
func TestPreviewColours(t *testing.T) {
	b := open(t, 1280, 900)
	b.visited()
	b.load("/")
	b.write("a green disc on a pink ground")
	b.do(chromedp.Click("#make"))
	b.done()
	var corner, centre []int
	b.do(chromedp.Evaluate(`window.pixel(0, 0)`, &corner), chromedp.Evaluate(`window.pixel(64, 64)`, &centre))
	for i, want := range []uint8{palette["pink"].R, palette["pink"].G, palette["pink"].B} {
		if got := corner[i]; got < int(want)-2 || got > int(want)+2 {
			t.Errorf("corner channel %d is %d, want %d", i, got, want)
		}
	}
	for i, want := range []uint8{palette["green"].R, palette["green"].G, palette["green"].B} {
		if got := centre[i]; got < int(want)-2 || got > int(want)+2 {
			t.Errorf("centre channel %d is %d, want %d", i, got, want)
		}
	}
}

func TestCancel(t *testing.T) {
	b := open(t, 1280, 900)
	b.visited()
	b.server.set(func() { b.server.stepTime = 150 * time.Millisecond })
	b.load("/")
	b.write("a red circle on white")
	b.do(chromedp.Click("#make"))
	b.wait(`/^Step [2-9] of 20/.test(document.querySelector('#status').textContent)`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.wait(`document.querySelector('#frame').dataset.state === 'cancelled'`)
	if got := b.text("#status"); !strings.HasPrefix(got, "Cancelled after step ") {
		t.Errorf("status is %q", got)
	}
	if state := b.server.last().State; state != job.Cancelled {
		t.Errorf("the job is %s", state)
	}
	b.shoot("cancelled")
	b.server.set(func() { b.server.stepTime = time.Millisecond })
	b.do(chromedp.Click("#retry"))
	b.done()
}

// A lost connection comes back by itself and asks only for what was missed.
func TestReconnect(t *testing.T) {
	b := open(t, 1280, 900)
	b.visited()
	b.server.set(func() { b.server.stepTime = 120 * time.Millisecond })
	b.load("/")
	b.write("a blue circle on yellow")
	b.do(chromedp.Click("#make"))
	b.wait(`/^Step [3-9] of 20/.test(document.querySelector('#status').textContent)`)
	b.server.drop()
	b.wait(`document.querySelector('#link').dataset.state === 'lost'`)
	b.wait(`document.querySelector('#link').dataset.state === 'open'`)
	b.done()
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	asked := b.server.asked
	if len(asked) != 2 || asked[0].After != 0 || asked[1].After < 3 || asked[0].Preview != "latent" {
		t.Errorf("subscriptions were %+v, want a second one with after ≥ 3", asked)
	}
}

// While the connection is down and the server restarts without the job, the page says so.
func TestForgottenJob(t *testing.T) {
	b := open(t, 1280, 900)
	b.visited()
	b.server.set(func() { b.server.stepTime = 200 * time.Millisecond })
	b.load("/")
	b.write("a white circle on purple")
	b.do(chromedp.Click("#make"))
	b.wait(`/^Step [2-9] of 20/.test(document.querySelector('#status').textContent)`)
	b.server.set(func() { clear(b.server.jobs); b.server.order = nil })
	b.server.drop()
	b.wait(`document.querySelector('#frame').dataset.state === 'failed'`)
	if got := b.text("#notice"); !strings.Contains(got, "does not know this job any more") {
		t.Errorf("notice is %q", got)
	}
	b.forgive("404")
}

func TestRefusals(t *testing.T) {
	b := open(t, 1280, 900)
	b.visited()
	b.load("/")
	b.do(chromedp.Evaluate(`document.querySelector('#prompt').value = ''`, nil), chromedp.Click("#make"))
	b.wait(`document.querySelector('#alert').innerText.includes('Write a prompt first')`)
	b.write("a red circle on white")
	b.do(chromedp.SetValue("#steps", "0"), chromedp.Click("#make"))
	b.wait(`document.querySelector('#alert').innerText.includes('Steps: a number from 1 to 150')`)
	if n := b.server.count(); n != 0 {
		t.Errorf("%d jobs were submitted", n)
	}
	b.do(chromedp.SetValue("#steps", "20"), chromedp.SetValue("#width", "2000"), chromedp.Click("#make"))
	b.wait(`document.querySelector('#alert').innerText.includes('Width must be a multiple of 8 from 64 to 1024, not 2000.') && document.activeElement.id === 'width'`)
	b.shoot("refused")
	b.server.set(func() { b.server.full = true })
	b.do(chromedp.SetValue("#width", "128"), chromedp.Click("#make"))
	b.wait(`document.querySelector('#alert').innerText.includes('The queue is full. Try again in 7 s.')`)
	b.forgive("400")
	b.forgive("503")
}

func TestFailure(t *testing.T) {
	b := open(t, 1280, 900)
	b.visited()
	b.load("/")
	b.shoot("empty")
	b.server.set(func() { b.server.stepTime = 200 * time.Millisecond })
	b.write("a green circle in trouble on pink")
	b.do(chromedp.Click("#make"))
	b.wait(`document.querySelector('#frame').dataset.state === 'waiting'`)
	b.shoot("waiting")
	b.server.set(func() { b.server.stepTime = time.Millisecond })
	b.wait(`document.querySelector('#frame').dataset.state === 'failed'`)
	if got := b.text("#notice"); !strings.Contains(got, "no memory left") {
		t.Errorf("notice is %q", got)
	}
	b.shoot("failed")
}

// Without the program the server's PNGs are shown.
func TestWithoutWasm(t *testing.T) {
	b := open(t, 1280, 900)
	b.load("/?wasm=off")
	b.done()
	if got := b.frames(); got < 5 {
		t.Errorf("%d distinct previews, want at least 5", got)
	}
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if asked := b.server.asked; len(asked) != 1 || asked[0].Preview != "png" {
		t.Errorf("subscriptions were %+v, want one for png", asked)
	}
}

// Several jobs wait in a list; the next one takes the stage when one is done.
func TestQueueOfSeveral(t *testing.T) {
	b := open(t, 1280, 900)
	b.visited()
	b.server.set(func() { b.server.stepTime = 60 * time.Millisecond })
	b.load("/")
	for _, prompt := range []string{"a red circle on white", "a blue circle on black"} {
		b.write(prompt)
		b.do(chromedp.Click("#make"))
		b.wait(`!document.querySelector('#make').disabled`)
	}
	b.wait(`document.querySelectorAll('#queue li').length === 2`)
	b.shoot("queue")
	b.wait(`document.querySelectorAll('#tiles li').length === 2`)
}

// A page opened before the model is loaded says so, and then makes its example.
func TestModelStillLoading(t *testing.T) {
	b := open(t, 1280, 900)
	b.server.set(func() { b.server.loading = true })
	b.do(chromedp.Navigate(b.url))
	b.wait(`document.querySelector('#status').textContent === 'The model is loading…' && document.querySelector('#alert').hidden`)
	b.shoot("loading")
	b.server.set(func() { b.server.loading = false })
	b.done()
	b.forgive("503")
}

// Settings travel: an example into the form, a shape into the size, a picture's settings back, its seed kept or drawn anew.
func TestSettings(t *testing.T) {
	b := open(t, 900, 900)
	b.visited()
	b.server.set(func() { b.server.stepTime = time.Millisecond })
	b.load("/")
	b.do(chromedp.Click(".chip:nth-child(2)"), chromedp.Click(`[data-shape=portrait]`),
		chromedp.SetValue("#negative", "red"), chromedp.SetValue("#steps", "10"), chromedp.SetValue("#seed", "18446744073709551615"), chromedp.Click("#make"))
	b.done()
	first := b.server.last().Request
	if first.Prompt != builtinExamples()[1] || first.Width != 104 || first.Height != 160 || first.NegativePrompt != "red" || first.Seed == nil || *first.Seed != 1<<64-1 {
		t.Errorf("asked for %+v", first)
	}
	b.shoot("portrait")
	b.do(chromedp.Click("#again"))
	b.wait(`document.querySelectorAll('#tiles li').length === 2`)
	if again := b.server.last().Request; again.Seed != nil || again.Prompt != first.Prompt || again.Steps != 10 {
		t.Errorf("another was asked for as %+v", again)
	}
	b.do(chromedp.Click("#dice"), chromedp.Click(`[data-shape=square]`), chromedp.SetValue("#steps", "3"), chromedp.Click("#tiles li:last-child button"), chromedp.Click("#reuse"), chromedp.Click("#make"))
	b.wait(`document.querySelectorAll('#tiles li').length === 3`)
	if reused := b.server.last().Request; reused.Seed == nil || *reused.Seed != *first.Seed || reused.Width != 104 || reused.Steps != 10 || reused.NegativePrompt != "red" {
		t.Errorf("with the settings of the first: %+v", reused)
	}
	b.load("/")
	b.wait(`document.querySelector('#prompt').value.includes('yellow star') && document.querySelector('#steps').value === '10'`)
}

// The page at desktop and phone width, light and dark, forming and done; nothing sticks out sideways.
func TestLooks(t *testing.T) {
	for _, width := range []int{1280, 360} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			b := open(t, width, 900)
			for i, prompt := range []string{"a pink circle on purple", "a yellow circle on black", "a white circle on green", "a red circle on yellow"} {
				b.server.set(func() {
					request := job.NewRequest(job.Generation, "tiny-shapes", prompt)
					request.ID, request.Steps, request.Width, request.Height = job.ID(fmt.Sprint("old-", i)), 1, 128, 128
					b.server.start(request)
				})
			}
			time.Sleep(50 * time.Millisecond)
			b.server.set(func() { b.server.stepTime = 100 * time.Millisecond })
			b.scheme("light")
			b.load("/")
			b.wait(`/^Step (8|9|1.) of 20/.test(document.querySelector('#status').textContent)`)
			b.shoot("forming-light")
			b.done()
			for _, scheme := range []string{"light", "dark"} {
				b.scheme(scheme)
				time.Sleep(50 * time.Millisecond)
				b.shoot("done-" + scheme)
			}
			var over int
			b.do(chromedp.Evaluate(`document.documentElement.scrollWidth - innerWidth`, &over))
			if over > 0 {
				t.Errorf("the page is %d px wider than the screen", over)
			}
		})
	}
}
