package job

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// BodyLimitBytes is the default limit of a request body, pictures included.
const BodyLimitBytes = 64 << 20

// Parse reads one operation from its JSON form, fills in the wire's defaults
// and checks all bounds. Members it does not know are ignored; null is the same
// as absent. Errors are *Error of kind InvalidInput whose text is the wire's.
func Parse(body []byte) (Request, error) {
	r, err := decode(body, false)
	if err != nil {
		return Request{}, err
	}
	r.normalize()
	if err := r.Validate(); err != nil {
		return Request{}, err
	}
	return r, nil
}

// valuesLimit is far above what an operation can have: a body of many tiny
// values takes many times its size in memory.
const valuesLimit = 10_000

// values counts the values of a JSON text without keeping any.
func values(body []byte) int {
	n, quoted := 1, false
	for i := 0; i < len(body); i++ {
		switch {
		case quoted && body[i] == '\\':
			i++
		case body[i] == '"':
			quoted = !quoted
		case body[i] == ',' && !quoted:
			n++
		}
	}
	return n
}

// decode reads the members of an operation without judging their values; bare
// allows that its pictures are missing, as in what lists show.
func decode(body []byte, bare bool) (Request, error) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return Request{}, Errorf(InvalidInput, "Failed to parse the request body as JSON: %s", syntaxProblem(body))
	}
	members, err := Members(body)
	if err != nil {
		return Request{}, err
	}
	op, err := operation(members)
	if err != nil {
		return Request{}, err
	}
	r := NewRequest(op, "", "")
	m := decoder{members: members, bare: bare}
	m.common(&r)
	m.special(&r)
	m.extras(&r)
	if m.err != nil {
		return Request{}, m.err
	}
	return r, nil
}

func syntaxProblem(body []byte) string {
	if !utf8.Valid(body) {
		return "the text is not UTF-8"
	}
	var v any
	return fmt.Sprint(json.Unmarshal(body, &v))
}

func parseError(format string, args ...any) *Error {
	return Errorf(InvalidInput, "Failed to parse operation: "+format, args...)
}

// operation reads the member that decides what the others mean.
func operation(members map[string]json.RawMessage) (Operation, error) {
	m := decoder{members: members}
	var name string
	m.required("operation", &name)
	if m.err != nil {
		return "", m.err
	}
	op := Operation(name)
	switch {
	case op == Generation || op == Transform || op == Inpaint:
		return op, nil
	case otherOperations[op]:
		return "", Errorf(InvalidInput, "Unsupported operation for SD worker: %s", op)
	}
	return "", parseError("unknown operation %s", quote(name))
}

// quote shows a stranger's text shortened.
func quote(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// decoder takes members out of a JSON object and keeps the first error.
type decoder struct {
	members map[string]json.RawMessage
	where   string // prefix of field names, as "loras[0]."
	bare    bool   // pictures may be missing
	err     error

	note func(Member) // takes what would be read, and nothing is; nil: read
}

// common reads what all three operations have.
func (m *decoder) common(r *Request) {
	m.required("hive_id", &r.HiveID)
	m.required("model", &r.Model)
	m.required("prompt", &r.Prompt)
	m.optional("negative_prompt", &r.NegativePrompt)
	m.optional("steps", &r.Steps)
	m.optional("guidance_scale", &r.GuidanceScale)
	m.optional("seed", &r.Seed)
	m.optional("worker_id", &r.WorkerID)
	m.list("loras", loraLimit, func(e *decoder) {
		l := LoRA{Strength: 1}
		e.required("path", &l.Path)
		e.optional("strength", &l.Strength)
		r.LoRAs = append(r.LoRAs, l)
	})
}

// special reads what one operation has and the others have not.
func (m *decoder) special(r *Request) {
	switch r.Operation {
	case Generation:
		m.optional("width", &r.Width)
		m.optional("height", &r.Height)
	case Transform:
		m.optional("strength", &r.Strength)
		m.picture("input", &r.InputImage, "input_image", "init_image")
	case Inpaint:
		m.picture("input", &r.InputImage, "init_image", "input_image")
		m.picture("mask", &r.MaskImage, "mask_image")
		m.optional("mask_blur", &r.MaskBlur)
		m.optional("mask_fill", &r.MaskFill)
		m.optional("only_masked", &r.OnlyMasked)
		m.optional("mask_padding", &r.MaskPadding)
	}
}

// extras reads the members of our own superset.
func (m *decoder) extras(r *Request) {
	m.optional("id", &r.ID)
	m.optional("sampler", &r.Sampler)
	m.optional("schedule", &r.Schedule)
	m.optional("sigmas", &r.Sigmas)
	m.optional("dialect", &r.Dialect)
	m.optional("batch", &r.Batch)
	m.optional("priority", &r.Priority)
	m.optional("stop_at_step", &r.StopAtStep)
	m.optional("clip_skip", &r.ClipSkip)
	m.optional("vae", &r.VAE)
	m.optional("eta", &r.Eta)
	m.optional("cfg_rescale", &r.CFGRescale)
	m.optional("tile", &r.Tile)
	m.optional("precision", &r.Precision)
	m.object("variation", func(e *decoder) {
		r.Variation = &Variation{}
		e.required("seed", &r.Variation.Seed)
		e.required("strength", &r.Variation.Strength)
	})
	m.object("hires", func(e *decoder) { r.Hires = e.hires() })
	m.list("controls", controlLimit, func(e *decoder) { r.Controls = append(r.Controls, e.control()) })
	m.object("webhook", func(e *decoder) {
		r.Webhook = &Webhook{}
		e.required("url", &r.Webhook.URL)
	})
}

func (m *decoder) hires() *Hires {
	h := &Hires{Scale: 2, Strength: 0.7}
	m.optional("scale", &h.Scale)
	m.optional("upscaler", &h.Upscaler)
	m.optional("steps", &h.Steps)
	m.optional("strength", &h.Strength)
	m.optional("sampler", &h.Sampler)
	return h
}

func (m *decoder) control() Control {
	c := Control{Strength: 1, End: 1}
	m.required("model", &c.Model)
	m.picture("control", &c.Image, "image")
	m.optional("preprocessor", &c.Preprocessor)
	m.optional("strength", &c.Strength)
	m.optional("start", &c.Start)
	m.optional("end", &c.End)
	return c
}

func (m *decoder) fail(err *Error) {
	if m.err == nil {
		m.err = err
	}
}

// member returns the raw value of a member, nil if it is absent or null.
func (m *decoder) member(name string) json.RawMessage {
	raw := m.members[name]
	if string(raw) == "null" {
		return nil
	}
	return raw
}

func (m *decoder) required(name string, into any) {
	if m.note != nil {
		m.note(describe(m.where+name, into, true))
		return
	}
	if m.member(name) == nil {
		m.fail(parseError("missing field `%s%s`", m.where, name))
		return
	}
	m.optional(name, into)
}

// optional decodes a member into one of the pointer types of wanted.
func (m *decoder) optional(name string, into any) {
	if m.note != nil {
		m.note(describe(m.where+name, into, false))
		return
	}
	raw := m.member(name)
	if raw == nil || m.err != nil {
		return
	}
	if err := assign(raw, into); err != nil {
		m.fail(parseError("field `%s%s`: expected %s, got %s", m.where, name, wanted(into), shorten(raw)))
	}
}

// assign decodes raw. Counts go through an unsigned type, so that a sign, a
// fraction or an exponent is refused as the protocol wants it.
func assign(raw json.RawMessage, into any) error {
	count, ok := into.(*int)
	if !ok {
		return json.Unmarshal(raw, into)
	}
	var u uint32
	if err := json.Unmarshal(raw, &u); err != nil {
		return err
	}
	*count = int(u & 0x7fffffff)
	if u > 0x7fffffff {
		return fmt.Errorf("%d is too large", u)
	}
	return nil
}

func wanted(into any) string {
	switch into.(type) {
	case *string, *ID, *Priority:
		return "a string"
	case *int:
		return "an unsigned integer"
	case *uint64, **uint64:
		return "an unsigned 64-bit integer"
	case *float64, **float64:
		return "a number"
	case *bool:
		return "true or false"
	case *[]float64:
		return "an array of numbers"
	}
	return "another type"
}

func shorten(raw json.RawMessage) string {
	if s := string(raw); len(s) <= 40 {
		return s
	}
	return strings.ToValidUTF8(string(raw[:40]), "") + "…"
}

// object calls read on the members of the object called name, if there is one.
func (m *decoder) object(name string, read func(*decoder)) {
	if m.note != nil {
		m.note(Member{Name: m.where + name, Type: "object"})
		read(&decoder{where: m.where + name + ".", note: m.note})
		return
	}
	raw := m.member(name)
	if raw == nil || m.err != nil {
		return
	}
	m.inner(raw, name, read)
}

func (m *decoder) inner(raw json.RawMessage, name string, read func(*decoder)) {
	e := decoder{where: m.where + name + "."}
	if json.Unmarshal(raw, &e.members) != nil || e.members == nil {
		m.fail(parseError("field `%s%s`: expected an object, got %s", m.where, name, shorten(raw)))
		return
	}
	read(&e)
	if m.err == nil {
		m.err = e.err
	}
}

// list calls read on each object of the array called name, at most limit of them.
func (m *decoder) list(name string, limit int, read func(*decoder)) {
	if m.note != nil {
		m.note(Member{Name: m.where + name, Type: "array", MaxItems: limit})
		read(&decoder{where: m.where + name + "[].", note: m.note})
		return
	}
	raw := m.member(name)
	if raw == nil || m.err != nil {
		return
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		m.fail(parseError("field `%s%s`: expected an array, got %s", m.where, name, shorten(raw)))
		return
	}
	if len(items) > limit {
		m.fail(Errorf(InvalidInput, "Invalid input: %s%s: %d entries, at most %d are allowed", m.where, name, len(items), limit))
		return
	}
	for i, item := range items {
		m.inner(item, fmt.Sprintf("%s[%d]", name, i), read)
	}
}

// picture reads a base64 file (standard alphabet, padded, no line breaks) from
// the first of the names that is present; what names it in errors.
func (m *decoder) picture(what string, into *[]byte, names ...string) {
	if m.note != nil {
		m.note(Member{Name: m.where + names[0], Also: names[1:], Type: "picture", Required: true})
		return
	}
	name := names[0]
	for _, n := range names {
		if m.member(n) != nil {
			name = n
			break
		}
	}
	if m.bare && m.member(name) == nil {
		return
	}
	var text string
	m.required(name, &text)
	if m.err != nil {
		return
	}
	data, err := decodeBase64(text)
	if err != nil {
		m.fail(Errorf(InvalidInput, "Failed to decode base64 %s image: field `%s%s`: %w", what, m.where, name, err))
		return
	}
	*into = data
}

// decodeBase64 is stricter than the library, which skips line breaks.
func decodeBase64(text string) ([]byte, error) {
	if i := strings.IndexAny(text, "\r\n"); i >= 0 {
		return nil, base64.CorruptInputError(i)
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}
