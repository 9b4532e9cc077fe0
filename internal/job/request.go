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
	Operation Operation `json:"operation"`
	HiveID    string    `json:"hive_id"`
	Model     string    `json:"model"`
	WorkerID  string    `json:"worker_id,omitempty"`

	Prompt         string  `json:"prompt"`
	NegativePrompt string  `json:"negative_prompt,omitempty"`
	Steps          int     `json:"steps"`          // 1…150
	GuidanceScale  float64 `json:"guidance_scale"` // 0…20
	// Seed is nil when any seed will do.
	Seed *uint64 `json:"seed,omitempty"`
	// Width and Height are in pixels, multiples of 8; zero for the operations
	// that take their size from a picture.
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`

	// Strength is how much of the schedule a transform runs, 0…1.
	Strength float64 `json:"-"`
	// InputImage and MaskImage are PNG or JPEG files (base64 in JSON).
	InputImage []byte `json:"-"`
	MaskImage  []byte `json:"mask_image,omitempty"`
	LoRAs      []LoRA `json:"loras,omitempty"`

	// ID is the client's own id for the job; empty lets the server choose.
	ID         ID         `json:"id,omitempty"`
	Sampler    string     `json:"sampler,omitempty"` // a name of the node's choices
	Schedule   string     `json:"schedule,omitempty"`
	Sigmas     []float64  `json:"sigmas,omitempty"` // descending, ending in 0
	Dialect    string     `json:"dialect,omitempty"`
	Batch      int        `json:"batch,omitempty"` // 1…64
	Priority   Priority   `json:"priority,omitempty"`
	StopAtStep int        `json:"stop_at_step,omitempty"` // 0: run through
	ClipSkip   int        `json:"clip_skip,omitempty"`    // 1…12 from the end, 1 the last layer; 0 the model's own
	VAE        string     `json:"vae,omitempty"`
	Eta        *float64   `json:"eta,omitempty"`
	CFGRescale float64    `json:"cfg_rescale,omitempty"` // 0…1
	Variation  *Variation `json:"variation,omitempty"`
	Tile       string     `json:"tile,omitempty"`
	Precision  string     `json:"precision,omitempty"`

	MaskBlur    int    `json:"mask_blur,omitempty"` // pixels
	MaskFill    string `json:"mask_fill,omitempty"`
	OnlyMasked  bool   `json:"only_masked,omitempty"`
	MaskPadding int    `json:"mask_padding,omitempty"` // pixels

	Hires    *Hires    `json:"hires,omitempty"`
	Controls []Control `json:"controls,omitempty"`
	Webhook  *Webhook  `json:"webhook,omitempty"`

	// Client is who sent the request: jobs of a priority are shared out fairly
	// between clients. It is not on the wire and no part of the content.
	Client string `json:"-"`
}

// LoRA adds a low-rank change to the weights. Path is a name in the server's
// LoRA folder, never a path of the machine; the wire's name for it is older.
type LoRA struct {
	Path     string  `json:"path"`
	Strength float64 `json:"strength"` // −10…10
}

// Variation mixes the noise of a second seed into the first's.
type Variation struct {
	Seed     uint64  `json:"seed"`
	Strength float64 `json:"strength"` // 0…1
}

// Hires makes the picture small, enlarges it and refines it.
type Hires struct {
	Scale    float64 `json:"scale"` // 1…4
	Upscaler string  `json:"upscaler,omitempty"`
	Steps    int     `json:"steps,omitempty"`
	Strength float64 `json:"strength"` // 0…1
	Sampler  string  `json:"sampler,omitempty"`
}

// Control steers a picture by another (ControlNet, T2I-Adapter).
type Control struct {
	Model        string  `json:"model"`
	Image        []byte  `json:"image"`
	Preprocessor string  `json:"preprocessor,omitempty"`
	Strength     float64 `json:"strength"`
	Start        float64 `json:"start"` // 0…1 of the steps
	End          float64 `json:"end"`
}

// Webhook is told when the job has ended.
type Webhook struct {
	URL string `json:"url"`
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
