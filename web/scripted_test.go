package web

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"waggle/internal/job"
)

// scripted speaks the server's protocol without a queue or a GPU: each job
// runs at once, one step every stepTime, towards a picture drawn from the
// colour words of its prompt.
type scripted struct {
	page http.Handler

	mu       sync.Mutex
	stepTime time.Duration
	full     bool // the queue takes nothing
	loading  bool // there is no model yet
	jobs     map[job.ID]*scriptedJob
	order    []job.ID
	sockets  map[*scriptedSocket]bool
	asked    []subscription
}

type scriptedJob struct {
	record job.Record
	events []job.Event
	latest []job.Preview // one, the newest
	cancel bool
}

type subscription struct {
	Type, Job, Preview, Ref string
	After                   int
}

type scriptedSocket struct {
	conn *websocket.Conn
	mu   sync.Mutex
	subs map[job.ID]string // which preview
}

const scriptedSide = 128 // pixels; latents have 16

func newScripted(page http.Handler) *scripted {
	return &scripted{page: page, stepTime: 25 * time.Millisecond, jobs: map[job.ID]*scriptedJob{}, sockets: map[*scriptedSocket]bool{}}
}

// handler routes the API beside the page.
func (s *scripted) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.page)
	mux.HandleFunc("POST /v1/jobs", s.submit)
	mux.HandleFunc("GET /v1/jobs", s.list)
	mux.HandleFunc("GET /v1/jobs/{id}", s.get)
	mux.HandleFunc("DELETE /v1/jobs/{id}", s.remove)
	mux.HandleFunc("GET /v1/jobs/{id}/image", s.image)
	mux.HandleFunc("GET /v1/models", s.models)
	mux.HandleFunc("GET /v1/samplers", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{
			"samplers":  []job.Choice{{Name: "ddim", Label: "DDIM"}, {Name: "euler", Label: "Euler"}, {Name: "dpmpp_2m", Label: "DPM++ 2M"}},
			"schedules": []job.Choice{{Name: "normal", Label: "Normal"}, {Name: "karras", Label: "Karras"}},
		})
	})
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, _ *http.Request) {
		write(w, job.Node{ID: "node", Device: "llvmpipe", Status: job.Ready})
	})
	mux.HandleFunc("GET /ready", s.ready)
	mux.HandleFunc("GET /v1/ws", s.websocket)
	return mux
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (s *scripted) ready(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loading {
		w.WriteHeader(http.StatusServiceUnavailable)
		write(w, map[string]any{"ready": false, "reason": "model loading"})
	}
}

func (s *scripted) models(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loading {
		write(w, map[string]any{"models": []job.ModelInfo{{Name: "tiny-shapes"}}}) // its name is known before it is loaded
		return
	}
	info := job.ModelInfo{
		Name: "tiny-shapes", Family: "sd1", Limits: job.DefaultLimits(), Loaded: true,
		Defaults: job.Defaults{Width: 128, Height: 128, Steps: 20, Guidance: 5, Sampler: "ddim", Schedule: "normal"},
		// The latents below carry red, green and blue around zero, and a channel without colour.
		Preview: job.LatentRGB{Factors: [][3]float32{{.25, 0, 0}, {0, .25, 0}, {0, 0, .25}, {0, 0, 0}}, Bias: [3]float32{.5, .5, .5}, Downscale: 8},
	}
	write(w, map[string]any{"models": []job.ModelInfo{info}})
}

func (s *scripted) submit(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	request := job.NewRequest(job.Generation, "", "")
	if err := json.Unmarshal(body, &request); err != nil {
		http.Error(w, "Failed to parse operation: "+err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.full:
		w.Header().Set("Retry-After", "7")
		http.Error(w, "The queue is full.", http.StatusServiceUnavailable)
		return
	case request.Width > 1024:
		http.Error(w, "Invalid input: width must be a multiple of 8 from 64 to 1024, not 2000", http.StatusBadRequest)
		return
	}
	s.start(request)
	write(w, map[string]any{"job_id": request.ID, "sse_url": "/v1/jobs/" + string(request.ID) + "/stream"})
}

// start keeps a job and runs it.
func (s *scripted) start(request job.Request) {
	seed := uint64(18446744073709551557) // more than a JavaScript number holds
	if request.Seed != nil {
		seed = *request.Seed
	}
	j := &scriptedJob{record: job.Record{ID: request.ID, State: job.Running, Request: request, Seed: seed, Created: time.Now()}}
	s.jobs[request.ID] = j
	s.order = append(s.order, request.ID)
	go s.run(j, time.Now())
}

// park keeps a job that stays in a state, after so many steps.
func (s *scripted) park(id, prompt string, state job.State, step int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := job.NewRequest(job.Generation, "tiny-shapes", prompt)
	request.ID, request.Width, request.Height = job.ID(id), 128, 128
	j := &scriptedJob{record: job.Record{ID: request.ID, State: state, Request: request, Created: time.Now()}}
	if state == job.Queued {
		j.record.Place = id
	}
	s.jobs[request.ID] = j
	s.order = append(s.order, request.ID)
	for n := 1; n <= step; n++ {
		s.tell(j, job.StepEvent(n, request.Steps))
	}
	s.tell(j, job.StateEvent(state))
}

// run is the script: steps with previews, then the picture.
func (s *scripted) run(j *scriptedJob, began time.Time) {
	total := j.record.Request.Steps
	for step := 1; step <= total; step++ {
		s.mu.Lock()
		wait := s.stepTime
		s.mu.Unlock()
		time.Sleep(wait)
		s.mu.Lock()
		if step == total/2 && strings.Contains(j.record.Request.Prompt, "trouble") {
			s.end(j, job.Outcome{Kind: job.OutOfMemory, Message: "The device has no memory left for 128 × 128 pixels. Try a smaller size."}, job.Failed)
			s.mu.Unlock()
			return
		}
		if j.cancel {
			s.end(j, job.Outcome{Kind: job.CancelledByUser}, job.Cancelled)
			s.mu.Unlock()
			return
		}
		j.latest = []job.Preview{{Step: step, Total: total, Latent: latentAt(j.record, step, total)}}
		s.tell(j, job.StepEvent(step, total))
		s.preview(j)
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	side := j.record.Request
	s.end(j, job.Outcome{Elapsed: time.Since(began), Pictures: []job.Picture{{Seed: j.record.Seed, Width: side.Width, Height: side.Height}}}, job.Complete)
}

func (s *scripted) end(j *scriptedJob, outcome job.Outcome, state job.State) {
	j.record.Outcome, j.record.State, j.record.Finished = outcome, state, time.Now()
	event, _ := j.record.EndEvent()
	s.tell(j, event)
}

// tell numbers an event, keeps it and sends it to everyone who listens.
func (s *scripted) tell(j *scriptedJob, event job.Event) {
	event.Number = uint64(len(j.events) + 1)
	j.events = append(j.events, event)
	for socket := range s.sockets {
		if _, ok := socket.subs[j.record.ID]; ok {
			socket.event(j.record.ID, event)
		}
	}
}

// preview sends the newest latent in the form each listener asked for.
func (s *scripted) preview(j *scriptedJob) {
	for socket := range s.sockets {
		if kind := socket.subs[j.record.ID]; kind != "" && len(j.latest) > 0 {
			socket.send(websocket.BinaryMessage, frameOf(j, kind))
		}
	}
}

func (s *scripted) list(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reports := []job.Report{}
	for _, id := range slices.Backward(s.order) {
		reports = append(reports, job.NewReport(s.jobs[id].record))
	}
	write(w, map[string]any{"jobs": reports})
}

func (s *scripted) find(w http.ResponseWriter, r *http.Request) *scriptedJob {
	j := s.jobs[job.ID(r.PathValue("id"))]
	if j == nil {
		http.Error(w, "Job "+r.PathValue("id")+" not found", http.StatusNotFound)
	}
	return j
}

func (s *scripted) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.find(w, r); j != nil {
		write(w, job.NewReport(j.record))
	}
}

func (s *scripted) remove(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.find(w, r); j != nil {
		j.cancel = true
		write(w, map[string]any{"job_id": j.record.ID, "status": "cancelled"})
	}
}

func (s *scripted) image(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.find(w, r); j != nil {
		w.Header().Set("Content-Type", "image/png")
		_ = png.Encode(w, drawn(j.record.Request.Prompt, scriptedSide))
	}
}

func (s *scripted) websocket(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	socket := &scriptedSocket{conn: conn, subs: map[job.ID]string{}}
	s.mu.Lock()
	s.sockets[socket] = true
	s.mu.Unlock()
	defer s.forget(socket)
	for {
		var message subscription
		if err := conn.ReadJSON(&message); err != nil {
			return
		}
		s.answer(socket, message)
	}
}

func (s *scripted) forget(socket *scriptedSocket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, socket)
	_ = socket.conn.Close()
}

func (s *scripted) answer(socket *scriptedSocket, message subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := job.ID(message.Job)
	switch message.Type {
	case "subscribe":
		if id == "*" {
			return // changes of other clients' jobs: not scripted
		}
		s.asked = append(s.asked, message)
		j := s.jobs[id]
		if j == nil {
			socket.json(map[string]any{"type": "error", "ref": message.Ref, "message": "Job " + message.Job + " not found"})
			return
		}
		for _, event := range j.events[min(message.After, len(j.events)):] {
			socket.event(id, event)
		}
		socket.subs[id] = message.Preview
		s.preview(j)
	case "unsubscribe":
		delete(socket.subs, id)
	case "ping":
		socket.json(map[string]any{"type": "pong"})
	}
}

// drop cuts every connection, as a network does.
func (s *scripted) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for socket := range s.sockets {
		_ = socket.conn.Close()
	}
}

func (c *scriptedSocket) event(id job.ID, event job.Event) {
	c.json(map[string]any{"type": "event", "job": id, "id": event.Number, "event": event})
}

func (c *scriptedSocket) json(v any) {
	text, _ := json.Marshal(v)
	c.send(websocket.TextMessage, text)
}

func (c *scriptedSocket) send(kind int, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.conn.WriteMessage(kind, data)
}

// frameOf is the binary message of a job's newest preview.
func frameOf(j *scriptedJob, want string) []byte {
	p, id := j.latest[0], string(j.record.ID)
	kind, payload := byte(1), []byte(nil)
	for _, half := range p.Latent.Data {
		payload = binary.LittleEndian.AppendUint16(payload, half)
	}
	if want == "png" {
		kind, payload = 2, pngOf(p.Latent)
	}
	b := []byte{1, kind}
	b = binary.LittleEndian.AppendUint16(b, uint16(p.Step))
	b = binary.LittleEndian.AppendUint16(b, uint16(p.Total))
	b = append(b, byte(p.Latent.Channels), byte(len(id)))
	b = binary.LittleEndian.AppendUint16(b, uint16(p.Latent.Height))
	b = binary.LittleEndian.AppendUint16(b, uint16(p.Latent.Width))
	b = append(b, id...)
	return append(append(b, make([]byte, -len(b)&3)...), payload...)
}

func pngOf(l job.Latent) []byte {
	img := image.NewRGBA(image.Rect(0, 0, l.Width, l.Height))
	for y := range l.Height {
		for x := range l.Width {
			c := func(i int) uint8 { return uint8(255 * min(max(l.At(i, y, x)/4+.5, 0), 1)) }
			img.Set(x, y, color.RGBA{c(0), c(1), c(2), 255})
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, img)
	return b.Bytes()
}

// latentAt is the picture's colours around zero under less and less noise.
func latentAt(record job.Record, step, total int) job.Latent {
	const side = scriptedSide / 8
	picture, random := drawn(record.Request.Prompt, side), rand.New(rand.NewSource(int64(record.Seed)))
	noise := 1 - float32(step)/float32(total)
	values := make([]float32, 4*side*side)
	for i := range side * side {
		c := picture.RGBAAt(i%side, i/side)
		for channel, v := range []uint8{c.R, c.G, c.B, 128} {
			values[channel*side*side+i] = (4*float32(v)/255-2)*(1-noise) + 1.5*noise*float32(random.NormFloat64())
		}
	}
	return job.NewLatent(4, side, side, values)
}

var palette = map[string]color.RGBA{
	"red": {218, 36, 40, 255}, "yellow": {250, 220, 50, 255}, "green": {40, 165, 70, 255}, "blue": {38, 80, 215, 255},
	"purple": {128, 48, 180, 255}, "pink": {252, 140, 195, 255}, "white": {244, 244, 244, 255}, "black": {22, 22, 26, 255},
}

// drawn is a disc in the first colour a prompt names on the last one.
func drawn(prompt string, side int) *image.RGBA {
	disc, ground := palette["red"], palette["blue"]
	var named []color.RGBA
	for word := range strings.FieldsSeq(strings.ToLower(prompt)) {
		if c, ok := palette[word]; ok {
			named = append(named, c)
		}
	}
	if len(named) > 0 {
		disc, ground = named[0], named[len(named)-1]
	}
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		x, y := 2*float64(i%side)/float64(side-1)-1, 2*float64(i/side)/float64(side-1)-1
		c := ground
		if x*x+y*y < .3 {
			c = disc
		}
		img.SetRGBA(i%side, i/side, c)
	}
	return img
}
