package picture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// ParametersKeyword is the keyword of the PNG text that says how a picture was made.
const ParametersKeyword = "parameters"

// Parameters says how a picture was made. As text it has the form that the program AUTOMATIC1111 introduced and that
// galleries and other programs read: the prompt, a line "Negative prompt: …", a line of fields.
type Parameters struct {
	Prompt        string
	Negative      string
	Steps         int
	Sampler       string // as people write it, e.g. "DPM++ 2M"
	Schedule      string // e.g. "Karras"
	Guidance      float64
	Seed          uint64
	Width, Height int // pixels
	Model         string
	Version       string  // the program that made the picture
	Extra         []Field // all other fields, in order, keys unlike each other
}

// Field is one "Key: value" of the last line.
type Field struct{ Key, Value string }

const (
	fewestFields  = 3 // a last line with fewer is part of the prompt
	mostFields    = 100
	longestFields = 64 << 10 // bytes of the last line; a longer one is part of the prompt
	negativeMark  = "Negative prompt:"
)

// String writes the text form. It reads back as the same value, also where the prompts hold lines that mean something
// in this form: those are repeated as quoted fields.
func (p Parameters) String() string {
	fields := p.fields()
	text := p.text(fields)
	if back, _ := ParseParameters(text); back.Prompt != p.Prompt || back.Negative != p.Negative {
		text = p.text(append(fields, Field{"Prompt", p.Prompt}, Field{"Negative prompt", p.Negative}))
	}
	return text
}

func (p Parameters) text(fields []Field) string {
	var lines []string
	if p.Prompt != "" {
		lines = append(lines, p.Prompt)
	}
	if p.Negative != "" {
		lines = append(lines, negativeMark+" "+p.Negative)
	}
	written := make([]string, len(fields))
	for i, f := range fields {
		written[i] = f.Key + ": " + quote(f.Value)
	}
	return strings.Join(append(lines, strings.Join(written, ", ")), "\n")
}

// fields lists what is not a prompt. Numbers are always written, texts where there are any.
func (p Parameters) fields() []Field {
	var fields []Field
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, Field{key, value})
		}
	}
	add("Steps", strconv.Itoa(p.Steps))
	add("Sampler", p.Sampler)
	add("Schedule type", p.Schedule)
	add("CFG scale", strconv.FormatFloat(p.Guidance, 'f', -1, 64))
	add("Seed", strconv.FormatUint(p.Seed, 10))
	if p.Width != 0 || p.Height != 0 {
		add("Size", fmt.Sprintf("%dx%d", p.Width, p.Height))
	}
	add("Model", p.Model)
	fields = append(fields, p.Extra...)
	add("Version", p.Version)
	return fields
}

// quote writes a value as a JSON string where it would not read back as it stands.
func quote(value string) string {
	plain := value != "" && strings.TrimSpace(value) == value && !strings.ContainsAny(value, ",:\n") &&
		!strings.ContainsAny(value[:1], `"{[`)
	if plain {
		return value
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// ParseParameters reads the text form, ours or another program's. A last line without at least three fields belongs to
// the prompt. The error names every field whose value is not what it should be; the others are filled in all the same.
func ParseParameters(text string) (Parameters, error) {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD")), "\n")
	last := len(lines) - 1
	fields := splitFields(lines[last])
	if len(fields) < fewestFields {
		fields = nil
	} else {
		lines = lines[:last]
	}
	var p Parameters
	p.Prompt, p.Negative = splitPrompts(lines)
	var errs []error
	for _, f := range fields {
		if err := p.set(f); err != nil {
			errs = append(errs, err)
		}
	}
	return p, errors.Join(errs...)
}

// splitPrompts parts the lines at the first that begins with "Negative prompt:". Lines lose the space around them.
func splitPrompts(lines []string) (prompt, negative string) {
	trimmed := make([]string, len(lines))
	for i, line := range lines {
		trimmed[i] = strings.TrimSpace(line)
	}
	for i, line := range trimmed {
		if rest, ok := strings.CutPrefix(line, negativeMark); ok {
			trimmed[i] = strings.TrimSpace(rest)
			return joinLines(trimmed[:i]), joinLines(trimmed[i:])
		}
	}
	return joinLines(trimmed), ""
}

func joinLines(lines []string) string {
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// splitFields reads "Key: value, Key: value". Values that hold commas are JSON: strings or, in some programs' files,
// objects. What is no field is passed over.
func splitFields(line string) []Field {
	if len(line) > longestFields {
		return nil
	}
	var fields []Field
	for line != "" && len(fields) < mostFields {
		key, rest, ok := strings.Cut(line, ":")
		key = strings.TrimSpace(key)
		if !ok || !validKey(key) {
			_, line, _ = strings.Cut(line, ",")
			continue
		}
		var value string
		value, line = cutValue(strings.TrimSpace(rest))
		fields = append(fields, Field{key, value})
	}
	return fields
}

func validKey(key string) bool {
	for i, r := range key {
		word := r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
		if !word && (i == 0 || !strings.ContainsRune(" -/", r)) {
			return false
		}
	}
	return key != ""
}

// cutValue takes a value off the front, and the comma after it.
func cutValue(text string) (value, rest string) {
	if text != "" && strings.ContainsAny(text[:1], `"{[`) {
		if value, rest, ok := cutJSON(text); ok {
			return value, rest
		}
	}
	value, rest, _ = strings.Cut(text, ",")
	return strings.TrimSpace(value), rest
}

// cutJSON takes a JSON value off the front; a string is unquoted, anything else kept as it stands.
func cutJSON(text string) (value, rest string, ok bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	var raw json.RawMessage
	if err := decoder.Decode(&raw); err != nil {
		return "", "", false
	}
	rest = strings.TrimSpace(text[decoder.InputOffset():])
	if rest != "" && rest[0] != ',' {
		return "", "", false
	}
	rest = strings.TrimPrefix(rest, ",")
	if raw[0] != '"' {
		return string(raw), rest, true
	}
	err := json.Unmarshal(raw, &value)
	return value, rest, err == nil
}

func (p *Parameters) set(f Field) error {
	texts := map[string]*string{
		"Prompt": &p.Prompt, "Negative prompt": &p.Negative, "Sampler": &p.Sampler,
		"Schedule type": &p.Schedule, "Model": &p.Model, "Version": &p.Version,
	}
	if text, ok := texts[f.Key]; ok {
		*text = f.Value
		return nil
	}
	switch f.Key {
	case "Steps":
		return setNumber(f, "a whole number", &p.Steps, parseCount)
	case "CFG scale":
		return setNumber(f, "a number", &p.Guidance, parseFinite)
	case "Seed":
		return setNumber(f, "a whole number below 2^64", &p.Seed, func(s string) (uint64, error) {
			return strconv.ParseUint(s, 10, 64)
		})
	case "Size":
		return p.setSize(f)
	}
	p.setExtra(f)
	return nil
}

func (p *Parameters) setSize(f Field) error {
	width, height, _ := strings.Cut(f.Value, "x")
	w, errW := parseCount(width)
	h, errH := parseCount(height)
	if errW != nil || errH != nil || w == 0 || h == 0 {
		return fmt.Errorf("parameters: Size %.40q is not WIDTHxHEIGHT in pixels", f.Value)
	}
	p.Width, p.Height = w, h
	return nil
}

// setExtra adds the field; of two with the same key the later counts.
func (p *Parameters) setExtra(f Field) {
	if i := slices.IndexFunc(p.Extra, func(e Field) bool { return e.Key == f.Key }); i >= 0 {
		p.Extra[i] = f
		return
	}
	p.Extra = append(p.Extra, f)
}

func setNumber[T any](f Field, what string, to *T, parse func(string) (T, error)) error {
	value, err := parse(f.Value)
	if err != nil {
		return fmt.Errorf("parameters: %s %.40q is not %s", f.Key, f.Value, what)
	}
	*to = value
	return nil
}

// parseCount reads a whole number from 0 to 2^31-1.
func parseCount(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}

func parseFinite(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = strconv.ErrRange
	}
	return v, err
}

// ParametersOf reads how a PNG was made from its metadata. It reports false where the file says nothing about it.
func ParametersOf(file []byte) (Parameters, bool, error) {
	texts, err := Texts(file)
	for _, text := range texts {
		if text.Keyword == ParametersKeyword {
			p, err := ParseParameters(text.Value)
			return p, true, err
		}
	}
	return Parameters{}, false, err
}
