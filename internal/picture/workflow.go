package picture

import (
	"encoding/json"
	"fmt"
	"strings"
)

// workflow is a graph as ComfyUI's page keeps it: links by number, values in the order of the widgets on a node.
type workflow struct {
	Nodes []struct {
		ID     json.RawMessage `json:"id"`
		Type   string          `json:"type"`
		Inputs []struct {
			Name string `json:"name"`
			Link *int64 `json:"link"`
		} `json:"inputs"`
		Widgets json.RawMessage `json:"widgets_values"`
	} `json:"nodes"`
	Links []json.RawMessage `json:"links"`
}

// widgets are the inputs that nodes show as widgets, in their order; "" is one that says nothing of the picture.
var widgets = map[string][]string{
	"KSampler":               {"seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"},
	"KSamplerAdvanced":       {"add_noise", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler", "start_at_step", "end_at_step", ""},
	"SamplerCustom":          {"add_noise", "noise_seed", "", "cfg"},
	"RandomNoise":            {"noise_seed", ""},
	"CFGGuider":              {"cfg"},
	"KSamplerSelect":         {"sampler_name"},
	"BasicScheduler":         {"scheduler", "steps", "denoise"},
	"KarrasScheduler":        {"steps", "sigma_max", "sigma_min", "rho"},
	"ExponentialScheduler":   {"steps", "sigma_max", "sigma_min"},
	"SDTurboScheduler":       {"steps", "denoise"},
	"CLIPTextEncode":         {"text"},
	"CLIPSetLastLayer":       {"stop_at_clip_layer"},
	"CheckpointLoaderSimple": {"ckpt_name"},
	"UNETLoader":             {"unet_name", ""},
	"VAELoader":              {"vae_name"},
	"LoraLoader":             {"lora_name", "strength_model", "strength_clip"},
	"LoraLoaderModelOnly":    {"lora_name", "strength_model"},
	"EmptyLatentImage":       {"width", "height", "batch_size"},
	"PrimitiveNode":          {"value"},
}

// parseWorkflow makes the graph as the server would run it, of the nodes whose widgets are known.
func parseWorkflow(text []byte) (graph, error) {
	var w workflow
	if err := json.Unmarshal(text, &w); err != nil {
		return nil, err
	}
	if len(w.Nodes) > mostNodes || len(w.Links) > 4*mostNodes {
		return nil, fmt.Errorf("%d nodes, at most %d", len(w.Nodes), mostNodes)
	}
	origins := map[int64]json.RawMessage{} // the node that a link comes from
	for _, raw := range w.Links {
		var link []json.RawMessage // its number, node and output it comes from, node and input it goes to, kind
		var number int64
		if json.Unmarshal(raw, &link) == nil && len(link) >= 3 && json.Unmarshal(link[0], &number) == nil {
			origins[number] = link[1]
		}
	}
	g := graph{}
	for _, from := range w.Nodes {
		n := &node{Class: from.Type, id: strings.Trim(string(from.ID), `"`), Inputs: map[string]json.RawMessage{}}
		var values []json.RawMessage
		_ = json.Unmarshal(from.Widgets, &values) // some nodes keep an object there
		for i, name := range widgets[from.Type] {
			if name != "" && i < len(values) {
				n.Inputs[name] = values[i]
			}
		}
		for _, in := range from.Inputs {
			if in.Link != nil && origins[*in.Link] != nil {
				n.Inputs[in.Name] = json.RawMessage(fmt.Sprintf("[%s,0]", origins[*in.Link]))
			}
		}
		g[n.id] = n
	}
	return g, nil
}
