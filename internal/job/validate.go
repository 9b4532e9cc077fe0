package job

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg" // so that image.DecodeConfig knows JPEG
	_ "image/png"  // and PNG
	"math"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of a request. Sizes are in pixels.
const (
	StepsLimit    = 150
	GuidanceLimit = 20.0
	SizeMin       = 64
	SizeMax       = 2048
	SizeMultiple  = 8
	BatchLimit    = 64

	// TokenLimit is the greatest length of a prompt: 16 chunks of 75 tokens.
	TokenLimit = 16 * 75
	// promptLimitBytes is far above what TokenLimit tokens of text need.
	promptLimitBytes = 64 << 10
	nameLimitBytes   = 512
	loraLimit        = 64
	controlLimit     = 16
)

// normalize lets custom sigmas decide the number of steps.
func (r *Request) normalize() {
	if n := len(r.Sigmas); n > 1 {
		r.Steps = n - 1
	}
}

// Validate checks every bound that needs no model. The error is *Error of kind
// InvalidInput; its text names the member, its value and what is allowed.
func (r Request) Validate() error {
	v := validator{}
	v.all(r)
	if v.err != nil {
		return v.err
	}
	return nil
}

func (v *validator) all(r Request) {
	v.texts(r)
	v.numbers(r)
	v.choices(r)
	v.sigmas(r.Sigmas)
	v.names(r)
	v.pictures(r)
	v.parts(r)
}

// Within checks the bounds of the model that the request is for; those it does
// not name are not checked. The error is as Validate's.
func (r Request) Within(l Limits) error {
	v := validator{}
	if r.Operation == Generation && l.SizeMultiple > 0 {
		v.side("width", r.Width, l)
		v.side("height", r.Height, l)
	}
	if l.StepsMax > 0 {
		v.between("steps", r.Steps, 1, l.StepsMax)
	}
	if l.BatchMax > 0 {
		v.between("batch", r.Batch, 1, l.BatchMax)
	}
	if v.err != nil {
		return v.err
	}
	return nil
}

// validator keeps the first complaint.
type validator struct {
	err *Error

	note func(Member) // takes the bounds of every member that is looked at; nil: nobody does
}

// bound tells of a member's bounds, if anybody listens.
func (v *validator) bound(m Member) {
	if v.note != nil {
		m.Name = anyIndex.ReplaceAllString(m.Name, "[]")
		v.note(m)
	}
}

func (v *validator) check(ok bool, format string, args ...any) {
	if !ok && v.err == nil {
		v.err = Errorf(InvalidInput, "Invalid input: "+format, args...)
	}
}

func (v *validator) texts(r Request) {
	v.check(strings.TrimSpace(r.Prompt) != "", "prompt must not be empty")
	v.bound(Member{Name: "prompt", Pattern: `\S`})
	v.prompt("Prompt", r.Prompt)
	v.prompt("Negative prompt", r.NegativePrompt)
	v.bound(Member{Name: "id", Pattern: IDPattern})
	v.check(r.ID == "" || ValidID(string(r.ID)), "id must be 1 to %d of A-Z a-z 0-9 _ -, got %s", idLimit, quote(string(r.ID)))
	v.text("hive_id", r.HiveID)
	v.text("model", r.Model)
	v.text("worker_id", r.WorkerID)
}

// prompt refuses what cannot fit in TokenLimit tokens, without a tokenizer:
// every word is at least one token. The exact count needs the model.
func (v *validator) prompt(what, text string) {
	v.bound(Member{Name: strings.ReplaceAll(strings.ToLower(what), " ", "_"), MaxLength: promptLimitBytes})
	v.check(len(text) <= promptLimitBytes, "%s too long: %d bytes > %d", what, len(text), promptLimitBytes)
	if v.err == nil {
		words := len(strings.Fields(text))
		v.check(words <= TokenLimit, "%s too long: %d words > %d tokens", what, words, TokenLimit)
	}
	v.check(!strings.ContainsRune(text, 0), "%s must not contain NUL", strings.ToLower(what))
}

func (v *validator) text(name, value string) {
	v.bound(Member{Name: name, MaxLength: nameLimitBytes})
	v.check(len(value) <= nameLimitBytes, "%s too long: %d bytes > %d", name, len(value), nameLimitBytes)
}

func (v *validator) numbers(r Request) {
	v.between("steps", r.Steps, 1, StepsLimit)
	v.within("guidance_scale", r.GuidanceScale, 0, GuidanceLimit)
	v.between("batch", r.Batch, 1, BatchLimit)
	v.between("clip_skip", r.ClipSkip, 0, 12)
	v.between("stop_at_step", r.StopAtStep, 0, r.Steps)
	v.within("cfg_rescale", r.CFGRescale, 0, 1)
	v.between("mask_blur", r.MaskBlur, 0, 256)
	v.between("mask_padding", r.MaskPadding, 0, SizeMax)
	if r.Eta != nil {
		v.within("eta", *r.Eta, 0, 1)
	}
	if r.Operation == Generation {
		v.size("width", r.Width)
		v.size("height", r.Height)
	}
	if r.Operation == Transform {
		v.within("strength", r.Strength, 0, 1)
	}
}

func (v *validator) between(name string, value, low, high int) {
	v.bound(Member{Name: name, Min: float(low), Max: float(high)})
	v.check(value >= low && value <= high, "%s must be %d to %d, got %d", name, low, high, value)
}

func (v *validator) within(name string, value, low, high float64) {
	v.bound(Member{Name: name, Min: &low, Max: &high})
	v.check(value >= low && value <= high, "%s must be %g to %g, got %g", name, low, high, value)
}

func (v *validator) size(name string, pixels int) { v.side(name, pixels, DefaultLimits()) }

func (v *validator) side(name string, pixels int, l Limits) {
	v.bound(Member{Name: name, MultipleOf: l.SizeMultiple})
	v.check(pixels%l.SizeMultiple == 0, "%s must be a multiple of %d, got %d", name, l.SizeMultiple, pixels)
	v.between(name, pixels, l.SizeMin, l.SizeMax)
}

func (v *validator) choices(r Request) {
	v.oneOf("dialect", r.Dialect, "a1111", "a1111-cpu", "comfy", "diffusers")
	v.oneOf("priority", string(r.Priority), string(High), string(Normal), string(Low))
	v.oneOf("tile", r.Tile, "none", "x", "y", "xy")
	v.oneOf("precision", r.Precision, "auto", "f32")
	if r.Operation == Inpaint {
		v.oneOf("mask_fill", r.MaskFill, "original", "noise", "blank")
	}
}

func (v *validator) oneOf(name, value string, allowed ...string) {
	v.bound(Member{Name: name, OneOf: allowed})
	v.check(slices.Contains(allowed, value), "%s must be one of %s, got %s", name, strings.Join(allowed, ", "), quote(value))
}

func (v *validator) sigmas(s []float64) {
	v.bound(Member{Name: "sigmas", MinItems: 2, MaxItems: StepsLimit + 1})
	if s == nil {
		return
	}
	v.check(len(s) >= 2 && len(s) <= StepsLimit+1, "sigmas must have 2 to %d values, got %d", StepsLimit+1, len(s))
	for i := 1; i < len(s); i++ {
		v.check(s[i] < s[i-1], "sigmas must descend: value %d is %g after %g", i, s[i], s[i-1])
	}
	v.check(len(s) == 0 || s[len(s)-1] == 0, "sigmas must end in 0")
	v.check(len(s) == 0 || !math.IsInf(s[0], 0), "sigmas must be finite")
}

// names checks what will be looked up in the server's folders.
func (v *validator) names(r Request) {
	v.text("sampler", r.Sampler)
	v.text("schedule", r.Schedule)
	v.name("vae", r.VAE)
	for i, l := range r.LoRAs {
		where := fmt.Sprintf("loras[%d].", i)
		v.bound(Member{Name: where + "path", MinLength: 1})
		v.check(l.Path != "", "%spath must not be empty", where)
		v.name(where+"path", l.Path)
		v.within(where+"strength", l.Strength, -10, 10)
	}
}

// name refuses whatever could leave the folder it is looked up in, in the eyes
// of any system or shell.
func (v *validator) name(what, s string) {
	v.text(what, s)
	local := s == "" || filepath.IsLocal(s) && !strings.HasPrefix(s, "~") && !strings.ContainsAny(s, "\\:\x00")
	v.check(local, "%s must be a name, not a path, got %s", what, quote(s))
}

func (v *validator) parts(r Request) {
	if x := r.Variation; x != nil {
		v.within("variation.strength", x.Strength, 0, 1)
	}
	if h := r.Hires; h != nil {
		v.within("hires.scale", h.Scale, 1, 4)
		v.between("hires.steps", h.Steps, 0, StepsLimit)
		v.within("hires.strength", h.Strength, 0, 1)
		v.name("hires.upscaler", h.Upscaler)
		v.text("hires.sampler", h.Sampler)
	}
	for i, c := range r.Controls {
		where := fmt.Sprintf("controls[%d].", i)
		v.name(where+"model", c.Model)
		v.text(where+"preprocessor", c.Preprocessor)
		v.within(where+"strength", c.Strength, 0, 2)
		v.within(where+"start", c.Start, 0, 1)
		v.within(where+"end", c.End, 0, 1)
		v.check(c.Start <= c.End, "%sstart must not be after its end, got %g and %g", where, c.Start, c.End)
	}
	if r.Webhook != nil {
		v.webhook(r.Webhook.URL)
	}
}

func (v *validator) webhook(address string) {
	v.text("webhook.url", address)
	u, err := url.Parse(address)
	v.check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "webhook.url must be an http or https address, got %s", quote(address))
}

// pictures looks at the headers of the pictures sent, never at their pixels.
func (v *validator) pictures(r Request) {
	if r.Operation == Transform || r.Operation == Inpaint {
		w, h := v.picture("input image", r.InputImage)
		v.pictureSize("input image", w, h)
	}
	if r.Operation == Inpaint {
		w, h := v.picture("mask image", r.MaskImage)
		v.check(w <= SizeMax && h <= SizeMax, "mask image is %d×%d pixels, at most %d each are allowed", w, h, SizeMax)
	}
	for _, c := range r.Controls {
		w, h := v.picture("control image", c.Image)
		v.check(w <= SizeMax && h <= SizeMax, "control image is %d×%d pixels, at most %d each are allowed", w, h, SizeMax)
	}
}

// picture returns the size a picture's header claims.
func (v *validator) picture(what string, data []byte) (width, height int) {
	if v.err != nil {
		return 0, 0
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(data))
	switch {
	case err != nil:
		v.err = Errorf(InvalidInput, "Failed to load image from memory: %s: want PNG or JPEG: %w", what, err)
	case format != "png" && format != "jpeg":
		v.err = Errorf(InvalidInput, "Failed to load image from memory: %s: want PNG or JPEG, got %s", what, format)
	}
	return c.Width, c.Height
}

func (v *validator) pictureSize(what string, w, h int) {
	w, h = w/SizeMultiple*SizeMultiple, h/SizeMultiple*SizeMultiple
	v.check(min(w, h) >= SizeMin && max(w, h) <= SizeMax, "%s is about %d×%d pixels, each side must be %d to %d", what, w, h, SizeMin, SizeMax)
}
