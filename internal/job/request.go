package job

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
)

// Operation is what a request asks for.
type Operation string

// The three operations an image worker knows.
const (
	Generation Operation = "image_generation" // text to image
	Transform  Operation = "image_transform"  // image to image
	Inpaint    Operation = "image_inpaint"    // repaint under a mask
)

// otherOperations are those the protocol knows and an image worker does not do.
var otherOperations = map[Operation]bool{
	"status": true, "infer": true, "queen_check": true, "hive_check": true,
	"rhai_script_save": true, "rhai_script_test": true, "rhai_script_get": true,
	"rhai_script_list": true, "rhai_script_delete": true,
	"worker_catalog_list": true, "worker_catalog_get": true, "worker_installed_get": true,
	"worker_install": true, "worker_remove": true, "worker_list_installed": true,
	"worker_spawn": true, "worker_process_list": true, "worker_process_get": true,
	"worker_process_delete": true, "model_download": true, "model_list": true,
	"model_get": true, "model_delete": true, "model_unload": true, "model_load": true,
}

// Priority orders the queue; within one, first come is first served.
type Priority string

// The priorities.
const (
	High   Priority = "high"
	Normal Priority = "normal"
	Low    Priority = "low"
)

// Request is one operation with all its members. Its JSON form is the wire's:
// the operation's name beside the members. Make one with NewRequest or Parse,
// which fill in the wire's defaults; the zero value is not valid.
type Request struct {
	Operation Operation `json:"operation"`           // what to do
	HiveID    string    `json:"hive_id"`             // for queens: the hive whose worker shall do it; localhost for any
	Model     string    `json:"model"`               // its name; a server that does not have it uses its own
	WorkerID  string    `json:"worker_id,omitempty"` // for queens: the worker that shall do it

	Prompt         string  `json:"prompt"`                    // what to draw
	NegativePrompt string  `json:"negative_prompt,omitempty"` // what not to draw
	Steps          int     `json:"steps"`                     // steps from noise to picture
	GuidanceScale  float64 `json:"guidance_scale"`            // how closely to keep to the prompt; up to 1 the negative prompt has no effect
	Seed           *uint64 `json:"seed,omitempty"`            // the same seed gives the same picture; without it any will do
	Width          int     `json:"width,omitempty"`           // in pixels; other operations take it from their picture
	Height         int     `json:"height,omitempty"`          // in pixels; other operations take it from their picture

	Strength   float64 `json:"-"`                    // how much of the schedule is run on the picture: 1 leaves nothing of it
	InputImage []byte  `json:"-"`                    // PNG or JPEG: the picture to start from
	MaskImage  []byte  `json:"mask_image,omitempty"` // PNG or JPEG: white where to repaint, black where to keep
	LoRAs      []LoRA  `json:"loras,omitempty"`      // small changes to the model

	ID         ID         `json:"id,omitempty"`           // the job's id, of the client's choice; without it the server chooses
	Sampler    string     `json:"sampler,omitempty"`      // one of those of /v1/samplers
	Schedule   string     `json:"schedule,omitempty"`     // of noise: one of those of /v1/samplers
	Sigmas     []float64  `json:"sigmas,omitempty"`       // a schedule of one's own: descending, ending in 0, one more than there are steps
	Dialect    string     `json:"dialect,omitempty"`      // the program whose noise, prompt weights and rounding are followed
	Batch      int        `json:"batch,omitempty"`        // how many pictures: each has a seed greater by 1 than the one before
	Priority   Priority   `json:"priority,omitempty"`     // the line in which the job waits
	StopAtStep int        `json:"stop_at_step,omitempty"` // the step behind which the job pauses; 0: it runs through
	ClipSkip   int        `json:"clip_skip,omitempty"`    // the layer of the text network whose answer counts: 1 the last, 2 the one before; 0 the model's own
	VAE        string     `json:"vae,omitempty"`          // name of another decoder than the model's
	Eta        *float64   `json:"eta,omitempty"`          // how much fresh noise a sampler adds that can do without
	CFGRescale float64    `json:"cfg_rescale,omitempty"`  // how far contrast is brought back that a high guidance_scale raises
	Variation  *Variation `json:"variation,omitempty"`    // a little of another seed's noise
	Tile       string     `json:"tile,omitempty"`         // the directions in which the picture shall continue itself without a seam
	Precision  string     `json:"precision,omitempty"`    // f32 computes with 32 bits everywhere

	MaskBlur    int    `json:"mask_blur,omitempty"`    // how soft the mask's edge is made, in pixels
	MaskFill    string `json:"mask_fill,omitempty"`    // what lies under the mask at first
	OnlyMasked  bool   `json:"only_masked,omitempty"`  // whether only what is near the mask is drawn, enlarged
	MaskPadding int    `json:"mask_padding,omitempty"` // how much around the mask is drawn then, in pixels

	Hires    *Hires    `json:"hires,omitempty"`    // draw small, enlarge, refine
	Controls []Control `json:"controls,omitempty"` // other pictures that steer this one
	Webhook  *Webhook  `json:"webhook,omitempty"`  // whom to tell of the job's end

	// Client is who sent the request: jobs of a priority are shared out fairly
	// between clients. It is not on the wire and no part of the content.
	Client string `json:"-"`
}

// LoRA adds a low-rank change to the weights. Path is a name in the server's
// LoRA folder, never a path of the machine; the wire's name for it is older.
type LoRA struct {
	Path     string  `json:"path"`     // a name in the server's folder, never a path
	Strength float64 `json:"strength"` // how much of it
}

// Variation mixes the noise of a second seed into the first's.
type Variation struct {
	Seed     uint64  `json:"seed"`     // the other seed
	Strength float64 `json:"strength"` // how much of its noise
}

// Hires makes the picture small, enlarges it and refines it.
type Hires struct {
	Scale    float64 `json:"scale"`              // how many times as wide and high
	Upscaler string  `json:"upscaler,omitempty"` // what enlarges it
	Steps    int     `json:"steps,omitempty"`    // to refine it; 0: as many as before
	Strength float64 `json:"strength"`           // how much of the schedule is run to refine it
	Sampler  string  `json:"sampler,omitempty"`  // to refine it; without it the same
}

// Control steers a picture by another (ControlNet, T2I-Adapter).
type Control struct {
	Model        string  `json:"model"`                  // name of the network that reads the picture
	Image        []byte  `json:"image"`                  // PNG or JPEG
	Preprocessor string  `json:"preprocessor,omitempty"` // what is made of the picture first
	Strength     float64 `json:"strength"`               // how much it steers
	Start        float64 `json:"start"`                  // the part of the steps after which it begins to
	End          float64 `json:"end"`                    // the part of the steps after which it ends
}

// Webhook is told when the job has ended.
type Webhook struct {
	URL string `json:"url"` // http or https, of a host that the server's operator lets be told
}

// NewRequest returns a request with the wire's defaults, whatever the model's
// own are: 20 steps, guidance 7.5, 512×512, euler on the normal schedule.
func NewRequest(op Operation, model, prompt string) Request {
	r := Request{
		Operation: op, HiveID: "localhost", Model: model, Prompt: prompt,
		Steps: 20, GuidanceScale: 7.5,
		Sampler: "euler", Schedule: "normal", Dialect: "a1111", Batch: 1,
		Priority: Normal, Tile: "none", Precision: "auto",
	}
	switch op {
	case Generation:
		r.Width, r.Height = 512, 512
	case Transform:
		r.Strength = 0.8
	case Inpaint:
		r.MaskFill = "original"
	}
	return r
}

// MarshalJSON writes the wire's form. Members an operation does not have are
// left out; the picture of a transform is called input_image and that of an
// inpaint init_image, as the protocol has it.
func (r Request) MarshalJSON() ([]byte, error) {
	type plain Request
	wire := struct {
		plain
		Strength   *float64 `json:"strength,omitempty"`
		InputImage []byte   `json:"input_image,omitempty"`
		InitImage  []byte   `json:"init_image,omitempty"`
	}{plain: plain(r)}
	switch r.Operation {
	case Transform:
		wire.Strength, wire.InputImage = &r.Strength, r.InputImage
	case Inpaint:
		wire.InitImage = r.InputImage
	}
	return json.Marshal(wire)
}

// UnmarshalJSON reads what MarshalJSON wrote, with or without the pictures, or
// any valid operation.
func (r *Request) UnmarshalJSON(b []byte) error {
	got, err := decode(b, true)
	if err != nil {
		return err
	}
	*r = got
	return nil
}

// Digest identifies the request's content: equal for two bodies that ask for
// the same, however they were written.
func (r Request) Digest() (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// Pictures is how many pictures the request asks for, at least 1.
func (r Request) Pictures() int { return max(r.Batch, 1) }

// WithoutPictures returns the request without its large members, for lists.
func (r Request) WithoutPictures() Request {
	r.InputImage, r.MaskImage, r.Controls = nil, nil, nil
	return r
}

// Size is about how many bytes the request holds on to.
func (r Request) Size() int {
	n := len(r.Prompt) + len(r.NegativePrompt) + len(r.InputImage) + len(r.MaskImage)
	for _, c := range r.Controls {
		n += len(c.Image)
	}
	return n
}

// RandomSeed returns a seed for a request that has none: 32 bits, which every
// tool that shows or stores seeds can hold exactly.
func RandomSeed() uint64 {
	var b [4]byte
	rand.Read(b[:]) // never fails: see crypto/rand
	return uint64(binary.LittleEndian.Uint32(b[:]))
}
