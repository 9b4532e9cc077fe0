package picture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ComfyUI writes the graph of nodes that made a picture: "prompt" as its server ran it, "workflow" as its page draws it. It is
// walked backwards from the node that samples. Hostile graphs are bounded: by the length of the text, in nodes, and in the
// steps of a walk, so that circles end.
const (
	mostNodes   = 5000
	mostHops    = 100
	longestName = 400 // bytes, of a file
)

// node is a node of a graph: its inputs are values or links to other nodes.
type node struct {
	Class  string                     `json:"class_type"`
	Inputs map[string]json.RawMessage `json:"inputs"`

	id string
}

type graph map[string]*node

// comfyRecipe reads a graph.
func comfyRecipe(keyword string, text []byte) (Recipe, error) {
	g, err := parseGraph(keyword, text)
	if err != nil {
		return Recipe{}, fmt.Errorf("ComfyUI's %s: %w", keyword, err)
	}
	c := &comfy{Recipe: Recipe{Source: FromComfyUI}, graph: g}
	sampler := c.pickSampler()
	if sampler == nil {
		return Recipe{}, fmt.Errorf("ComfyUI's %s: %w: no node in it samples in a way that is known here", keyword, ErrNoRecipe)
	}
	c.Extra = []Field{{"Dialect", "comfy"}}
	c.read(sampler)
	return c.Recipe, nil
}

func parseGraph(keyword string, text []byte) (graph, error) {
	if keyword == "workflow" {
		return parseWorkflow(text)
	}
	var g graph
	if err := json.Unmarshal(text, &g); err != nil {
		g = nil // Python writes NaN, which is not JSON
		if json.Unmarshal(bytes.ReplaceAll(text, []byte("NaN"), []byte("0")), &g) != nil {
			return nil, err
		}
	}
	if len(g) > mostNodes {
		return nil, fmt.Errorf("%d nodes, at most %d", len(g), mostNodes)
	}
	for id, n := range g {
		if n == nil {
			delete(g, id)
			continue
		}
		n.id = id
	}
	return g, nil
}

// comfy is a graph being read.
type comfy struct {
	Recipe
	graph graph
	loras []string // as A1111 writes them in a prompt
}

// samplerClasses are the nodes that sample.
var samplerClasses = []string{"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"}

// pickSampler chooses the node that begins with noise alone; of several the first.
func (c *comfy) pickSampler() *node {
	var all []*node
	for _, n := range c.graph {
		if slices.Contains(samplerClasses, n.Class) {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *node) int { return compareIDs(a.id, b.id) })
	chosen := all[0]
	for _, n := range all {
		if latent := c.to(n, "latent_image"); latent != nil && strings.HasPrefix(latent.Class, "Empty") {
			chosen = n
			break
		}
	}
	if len(all) > 1 {
		c.note("%d nodes sample: only the first, %s %s, is followed", len(all), chosen.Class, clipped(chosen.id))
	}
	return chosen
}

// compareIDs orders numbers as numbers.
func compareIDs(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// read fills in the recipe from a sampling node.
func (c *comfy) read(n *node) {
	c.Sampler, c.Schedule = c.text(n, "sampler_name"), c.text(n, "scheduler")
	c.Steps, c.Guidance = int(c.number(n, "steps")), c.number(n, "cfg")
	c.Seed = c.seed(n, "seed")
	conditioning := n
	switch n.Class {
	case "KSamplerAdvanced":
		c.Seed = c.seed(n, "noise_seed")
		c.readPart(n)
	case "SamplerCustom":
		c.Seed = c.seed(n, "noise_seed")
		c.readCustom(n)
	case "SamplerCustomAdvanced":
		c.readCustom(n)
		if noise := c.to(n, "noise"); noise != nil {
			c.Seed = c.seed(noise, "noise_seed")
		}
		if guider := c.to(n, "guider"); guider != nil {
			conditioning = guider
			c.Guidance = max(c.number(guider, "cfg"), 1)
		}
	}
	if n.has("denoise") {
		c.noteDenoise(c.number(n, "denoise"))
	}
	c.readNames()
	c.readLatent(c.to(n, "latent_image"))
	c.readModel(c.to(conditioning, "model"))
	c.Prompt = c.prompt(conditioning, "positive", "conditioning")
	c.Negative = c.prompt(conditioning, "negative")
	c.Prompt = strings.TrimSpace(strings.Join(append([]string{c.Prompt}, c.loras...), " "))
	c.readVAE()
}

// readNames writes ComfyUI's names that mean another thing here.
func (c *comfy) readNames() {
	if c.Sampler == "ddim" { // Euler's method in sigma there
		c.Sampler = "euler"
	}
	if c.Schedule == "beta" {
		c.Schedule = "beta_comfy"
	}
}

func (c *comfy) noteDenoise(share float64) {
	if share < 1 {
		c.note("denoise %g is not followed: the picture is begun from noise alone", share)
	}
}

// readPart says what of KSamplerAdvanced is not followed.
func (c *comfy) readPart(n *node) {
	if start := c.number(n, "start_at_step"); start > 0 {
		c.note("start_at_step %g is not followed: all steps are done", start)
	}
	if end := c.number(n, "end_at_step"); n.has("end_at_step") && end < float64(c.Steps) {
		c.note("end_at_step %g is not followed: all steps are done", end)
	}
	if c.text(n, "add_noise") == "disable" {
		c.note("add_noise disable is not followed: the picture is begun from noise")
	}
}

// readCustom reads what other nodes say of sampler and sigmas.
func (c *comfy) readCustom(n *node) {
	if s := c.to(n, "sampler"); s != nil {
		c.Sampler = c.text(s, "sampler_name")
		if c.Sampler == "" {
			c.Sampler = samplerNodes[s.Class]
		}
		if c.Sampler == "" {
			c.note("sampler node %s is not known", clipped(s.Class))
		}
		if s.has("eta") {
			c.setExtra(Field{"Eta", strconv.FormatFloat(c.number(s, "eta"), 'g', -1, 64)})
		}
	}
	s := c.to(n, "sigmas")
	if s == nil {
		return
	}
	c.Steps, c.Schedule = int(c.number(s, "steps")), c.text(s, "scheduler")
	if c.Schedule == "" {
		c.Schedule = scheduleNodes[s.Class]
	}
	if c.Schedule == "" {
		c.note("schedule node %s is not known: taking normal", clipped(s.Class))
		c.Schedule = "normal"
	}
	if s.has("denoise") {
		c.noteDenoise(c.number(s, "denoise"))
	}
}

// Nodes that are a sampler or a schedule without naming it.
var (
	samplerNodes = map[string]string{
		"SamplerEulerAncestral": "euler_ancestral", "SamplerDPMPP_2M_SDE": "dpmpp_2m_sde", "SamplerDPMPP_SDE": "dpmpp_sde",
		"SamplerDPMPP_3M_SDE": "dpmpp_3m_sde", "SamplerLMS": "lms", "SamplerDPMPP_2S_Ancestral": "dpmpp_2s_ancestral",
		"SamplerDPMAdaptative": "dpm_adaptive", "SamplerEulerAncestralCFGPP": "euler_ancestral_cfg_pp", "SamplerEulerCFGpp": "euler_cfg_pp",
	}
	scheduleNodes = map[string]string{
		"KarrasScheduler": "karras", "ExponentialScheduler": "exponential", "PolyexponentialScheduler": "polyexponential",
		"VPScheduler": "vp", "AlignYourStepsScheduler": "align_your_steps", "SDTurboScheduler": "turbo",
	}
)

// readLatent reads the size, through nodes that only pass a latent on.
func (c *comfy) readLatent(n *node) {
	for range mostHops {
		switch {
		case n == nil:
			c.note("the size of the picture is not told: taking the model's own")
			return
		case strings.HasPrefix(n.Class, "Empty") && n.has("width"):
			c.Width, c.Height = int(c.number(n, "width")), int(c.number(n, "height"))
			if batch := c.number(n, "batch_size"); batch > 1 {
				c.note("the picture is one of a batch of %g: ComfyUI draws their noise at once, so only the first can come out the same", batch)
			}
			return
		case strings.HasPrefix(n.Class, "VAEEncode"):
			c.note("%s is not followed: the picture is begun from noise alone", clipped(n.Class))
			return
		}
		c.note("%s is not followed", clipped(n.Class))
		n = c.firstOf(n, "samples", "latent", "latent_image")
	}
}

// readModel follows the model to the file it comes from.
func (c *comfy) readModel(n *node) {
	for range mostHops {
		if n == nil {
			return
		}
		for _, key := range []string{"ckpt_name", "unet_name"} {
			if name := c.text(n, key); name != "" {
				c.Model = fileName(name)
				return
			}
		}
		switch {
		case strings.HasPrefix(n.Class, "LoraLoader"):
			c.readLoRA(n)
		default:
			c.note("%s is not followed", clipped(n.Class))
		}
		n = c.to(n, "model")
	}
}

func (c *comfy) readLoRA(n *node) {
	name, strength := fileName(c.text(n, "lora_name")), c.number(n, "strength_model")
	if name == "" || len(name) > longestName || strings.ContainsAny(name, "<>:") {
		c.note("LoRA %q has a name that cannot be written in a prompt", clipped(name))
		return
	}
	if clip := c.number(n, "strength_clip"); n.has("strength_clip") && clip != strength {
		c.note("LoRA %s has strength %g for the text encoder there; taking %g for both", clipped(name), clip, strength)
	}
	c.loras = append(c.loras, fmt.Sprintf("<lora:%s:%g>", name, strength))
}

// fileName is a file's name without its extension, folders with slashes.
func fileName(path string) string {
	path = strings.ReplaceAll(path, `\`, "/")
	for _, extension := range []string{".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".sft"} {
		path = strings.TrimSuffix(path, extension)
	}
	return path
}

// prompt is the text of the first of the named inputs that has one.
func (c *comfy) prompt(n *node, inputs ...string) string {
	n = c.firstOf(n, inputs...)
	for range mostHops {
		if n == nil {
			return ""
		}
		if strings.HasPrefix(n.Class, "CLIPTextEncode") {
			c.readClip(c.to(n, "clip"))
			return c.words(n)
		}
		if n.Class == "ConditioningZeroOut" {
			c.note("ConditioningZeroOut is not followed: the negative prompt is empty")
			return ""
		}
		c.note("%s is not followed", clipped(n.Class))
		n = c.firstOf(n, "conditioning", "positive", "conditioning_1", "conditioning_to")
	}
	return ""
}

// words are the text of a node that encodes one.
func (c *comfy) words(n *node) string {
	text := c.text(n, "text")
	if n.has("text_g") {
		text = c.text(n, "text_g")
		if other := c.text(n, "text_l"); other != "" && other != text {
			c.note("the second text encoder had another text: %q", clipped(other))
		}
	}
	return text
}

// readClip finds the layer at which text is read.
func (c *comfy) readClip(n *node) {
	for range mostHops {
		if n == nil {
			return
		}
		if n.Class == "CLIPSetLastLayer" {
			if layer := -c.number(n, "stop_at_clip_layer"); layer >= 1 {
				c.setExtra(Field{"Clip skip", strconv.Itoa(int(layer))})
			}
			return
		}
		n = c.to(n, "clip")
	}
}

// readVAE finds the decoder, if it is not the model's own.
func (c *comfy) readVAE() {
	var decoders []*node
	for _, n := range c.graph {
		if strings.HasPrefix(n.Class, "VAEDecode") {
			decoders = append(decoders, n)
		}
	}
	slices.SortFunc(decoders, func(a, b *node) int { return compareIDs(a.id, b.id) })
	for _, n := range decoders {
		if vae := c.to(n, "vae"); vae != nil {
			if name := c.text(vae, "vae_name"); name != "" {
				c.setExtra(Field{"VAE", fileName(name)})
				return
			}
		}
	}
}

func (n *node) has(input string) bool { _, ok := n.Inputs[input]; return ok }

// to is the node that an input is linked to, nil where it is none.
func (c *comfy) to(n *node, input string) *node {
	if n == nil {
		return nil
	}
	var link []json.RawMessage
	if json.Unmarshal(n.Inputs[input], &link) != nil || len(link) != 2 {
		return nil
	}
	return c.graph[strings.Trim(string(link[0]), `"`)]
}

func (c *comfy) firstOf(n *node, inputs ...string) *node {
	for _, input := range inputs {
		if found := c.to(n, input); found != nil {
			return found
		}
	}
	return nil
}

// value is an input's value, through nodes that only hold one.
func (c *comfy) value(n *node, input string) json.RawMessage {
	for range mostHops {
		if n == nil {
			return nil
		}
		linked := c.to(n, input)
		if linked == nil {
			return n.Inputs[input]
		}
		n = linked
		for _, key := range []string{"value", "text", "string", "seed", "noise_seed", "int", "float", "number", input} {
			if n.has(key) {
				input = key
				break
			}
		}
	}
	return nil
}

func (c *comfy) text(n *node, input string) (text string) {
	_ = json.Unmarshal(c.value(n, input), &text) // of another type: none
	return text
}

func (c *comfy) number(n *node, input string) (number float64) {
	_ = json.Unmarshal(c.value(n, input), &number)
	return min(max(number, -1<<31), 1<<31-1)
}

// seed keeps all 64 bits.
func (c *comfy) seed(n *node, input string) (seed uint64) {
	if err := json.Unmarshal(c.value(n, input), &seed); err != nil {
		c.note("the seed is not told")
	}
	return seed
}

// clipped is a stranger's word, short enough to be shown.
func clipped(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return text
}
