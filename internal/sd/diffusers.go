package sd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"waggle/internal/nn"
)

// maxConfigBytes bounds a config.json; real ones have two or three KiB.
const maxConfigBytes = 1 << 20

// readConfig decodes a config.json into v, whose fields hold the defaults of the class. null keeps a default.
func readConfig(data []byte, v any) error {
	if len(data) > maxConfigBytes {
		return fmt.Errorf("config.json has %d bytes, want at most %d", len(data), maxConfigBytes)
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(v); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	return nil
}

// numbers is a list that a configuration may also give as one number for every level, or nest by block.
type numbers []blockNumbers

// blockNumbers is one level's value: the same for every block (one number) or each block's own.
type blockNumbers []int

func (n *blockNumbers) UnmarshalJSON(data []byte) error {
	var one int
	if json.Unmarshal(data, &one) == nil {
		*n = blockNumbers{one}
		return nil
	}
	return json.Unmarshal(data, (*[]int)(n))
}

func (n *numbers) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var one int
	if json.Unmarshal(data, &one) == nil {
		*n = numbers{{one}}
		return nil
	}
	return json.Unmarshal(data, (*[]blockNumbers)(n))
}

// flags is a list that a configuration may also give as one value for every level.
type flags []bool

func (f *flags) UnmarshalJSON(data []byte) error {
	var one bool
	if json.Unmarshal(data, &one) == nil {
		*f = flags{one}
		return nil
	}
	return json.Unmarshal(data, (*[]bool)(f))
}

// levels is the value of each level, up to the last that is set; nil where none is.
func (f flags) levels(count int) (all []bool) {
	for level := range min(count, maxLevels) {
		if on := len(f) == 1 && f[0] || len(f) > 1 && level < len(f) && f[level]; on {
			all = append(all, make([]bool, level+1-len(all))...)
			all[level] = true
		}
	}
	return all
}

// at is the list of a level's blocks; a single number holds for all levels and all blocks.
func (n numbers) at(level, blocks int) []int {
	if len(n) == 1 {
		level = 0
	}
	if level >= len(n) || len(n[level]) == 0 {
		return nil
	}
	if len(n[level]) == 1 {
		return slices.Repeat(n[level], max(0, min(blocks, maxLayers)))
	}
	return n[level]
}

// first is a level's value where blocks do not differ; 0 where the level has none.
func (n numbers) first(level int) int {
	if list := n.at(level, 1); len(list) > 0 {
		return list[0]
	}
	return 0
}

// diffusersUNet holds the fields of a UNet2DConditionModel that we read or insist on.
type diffusersUNet struct {
	In          int      `json:"in_channels"`
	Out         int      `json:"out_channels"`
	Widths      []int    `json:"block_out_channels"`
	DownBlocks  []string `json:"down_block_types"`
	UpBlocks    []string `json:"up_block_types"`
	MidBlock    *string  `json:"mid_block_type"`
	Layers      numbers  `json:"layers_per_block"`
	Depths      numbers  `json:"transformer_layers_per_block"`
	UpDepths    numbers  `json:"reverse_transformer_layers_per_block"`
	HeadDim     numbers  `json:"attention_head_dim"` // in truth the number of heads
	Heads       numbers  `json:"num_attention_heads"`
	Context     numbers  `json:"cross_attention_dim"`
	Groups      int      `json:"norm_num_groups"`
	Eps         float64  `json:"norm_eps"`
	TimeFlip    bool     `json:"flip_sin_to_cos"`
	TimeShift   float64  `json:"freq_shift"`
	TimeWidth   int      `json:"time_embedding_dim"`
	Guidance    int      `json:"time_cond_proj_dim"`
	AddedType   string   `json:"addition_embed_type"`
	Added       int      `json:"projection_class_embeddings_input_dim"`
	AddedTime   int      `json:"addition_time_embed_dim"`
	SampleSize  numbers  `json:"sample_size"`
	Activation  string   `json:"act_fn"`
	TimeType    string   `json:"time_embedding_type"`
	ClassType   string   `json:"class_embed_type"`
	ContextType string   `json:"encoder_hid_dim_type"`
	ScaleShift  string   `json:"resnet_time_scale_shift"`
	Dual        bool     `json:"dual_cross_attention"`
	TextTwice   flags    `json:"only_cross_attention"`
	MidTwice    *bool    `json:"mid_block_only_cross_attention"`
}

// The class's defaults, for fields that old configurations leave out.
func newDiffusersUNet() diffusersUNet {
	middle := "UNetMidBlock2DCrossAttn"
	return diffusersUNet{
		In: 4, Out: 4, Widths: []int{320, 640, 1280, 1280}, MidBlock: &middle, Layers: numbers{{2}}, Depths: numbers{{1}},
		DownBlocks: []string{"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"},
		UpBlocks:   []string{"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"},
		HeadDim:    numbers{{8}}, Context: numbers{{1280}}, Groups: 32, Eps: 1e-5, TimeFlip: true,
		Activation: "silu", TimeType: "positional", ScaleShift: "default",
	}
}

// unsupported names the first field whose value means another network than ours.
func (d diffusersUNet) unsupported() error {
	for _, field := range []struct{ name, value, want string }{
		{"act_fn", strings.Replace(d.Activation, "swish", "silu", 1), "silu"},
		{"time_embedding_type", d.TimeType, "positional"},
		{"class_embed_type", d.ClassType, ""},
		{"encoder_hid_dim_type", d.ContextType, ""},
		{"resnet_time_scale_shift", d.ScaleShift, "default"},
		{"addition_embed_type", strings.Replace(d.AddedType, "text_time", "", 1), ""},
	} {
		if field.value != field.want {
			return fmt.Errorf("config.json: %s %q is not supported", field.name, field.value)
		}
	}
	if top := len(d.Widths) - 1; d.MidBlock != nil && d.midTwice() != (UNetConfig{TextTwice: d.TextTwice.levels(len(d.Widths))}).textTwice(top) {
		return errors.New("config.json: mid_block_only_cross_attention that differs from the coarsest level's is not supported")
	}
	if d.Dual {
		return errors.New("config.json: dual_cross_attention is not supported")
	}
	return nil
}

// midTwice is what the middle has where mid_block_only_cross_attention says nothing: what one value says for all levels.
func (d diffusersUNet) midTwice() bool {
	if d.MidTwice != nil {
		return *d.MidTwice
	}
	return len(d.TextTwice) == 1 && d.TextTwice[0]
}

// parseUNet reads the configuration of a UNet2DConditionModel.
func parseUNet(data []byte) (UNetConfig, error) {
	d := newDiffusersUNet()
	if err := readConfig(data, &d); err != nil {
		return UNetConfig{}, err
	}
	return d.config()
}

// config is the shape that the fields describe.
func (d diffusersUNet) config() (UNetConfig, error) {
	if err := d.unsupported(); err != nil {
		return UNetConfig{}, err
	}
	if len(d.Widths) == 0 || len(d.Widths) > maxLevels || len(d.DownBlocks) != len(d.Widths) || len(d.UpBlocks) != len(d.Widths) {
		return UNetConfig{}, fmt.Errorf("config.json: block_out_channels, down_block_types and up_block_types have %d, %d and %d levels",
			len(d.Widths), len(d.DownBlocks), len(d.UpBlocks))
	}
	c := UNetConfig{
		In: d.In, Out: d.Out, Widths: d.Widths, Context: d.Context.first(0), Groups: d.Groups, Eps: d.Eps,
		TimeWidth: d.TimeWidth, TimeFlip: d.TimeFlip, TimeShift: d.TimeShift, SampleSize: d.SampleSize.first(0),
		Guidance: d.Guidance, TextTwice: d.TextTwice.levels(len(d.Widths)),
	}
	if c.TimeWidth == 0 {
		c.TimeWidth = 4 * d.Widths[0]
	}
	if d.AddedType != "" {
		if c.Added, c.AddedTime = d.Added, d.AddedTime; c.Added <= 0 {
			return UNetConfig{}, errors.New("config.json: addition_embed_type needs projection_class_embeddings_input_dim")
		}
	}
	if err := d.blocks(&c); err != nil {
		return UNetConfig{}, err
	}
	return c, c.check()
}

// blocks fills in depths and heads of every level.
func (d diffusersUNet) blocks(c *UNetConfig) error {
	heads, top := d.HeadDim, len(d.Widths)-1
	if len(d.Heads) > 0 {
		heads = d.Heads
	}
	for level := range d.Widths {
		down, err := d.depths(d.DownBlocks[level], d.Depths, level, d.Layers.first(level))
		if err != nil {
			return err
		}
		// Depths of the way up are those of the way down in reverse, unless given.
		from, at := d.Depths, top-level
		if len(d.UpDepths) > 0 {
			from, at = d.UpDepths, level
		}
		up, err := d.depths(d.UpBlocks[level], from, at, d.Layers.first(top-level)+1)
		if err != nil {
			return err
		}
		c.Down, c.Up, c.Heads = append(c.Down, down), append(c.Up, up), append(c.Heads, heads.first(level))
	}
	switch {
	case d.MidBlock == nil:
		c.Mid = NoMiddle
	case *d.MidBlock == "UNetMidBlock2D":
		c.Mid = 0
	case *d.MidBlock == "UNetMidBlock2DCrossAttn":
		c.Mid = d.Depths.first(len(d.Widths) - 1)
	default:
		return fmt.Errorf("config.json: mid_block_type %q is not supported", *d.MidBlock)
	}
	return nil
}

// depths of the transformers behind a level's residual blocks: zeros for a block type without attention.
func (d diffusersUNet) depths(kind string, from numbers, level, blocks int) ([]int, error) {
	blocks = max(0, min(blocks, maxLayers))
	switch kind {
	case "DownBlock2D", "UpBlock2D":
		return make([]int, blocks), nil
	case "CrossAttnDownBlock2D", "CrossAttnUpBlock2D":
		list := from.at(level, blocks)
		if len(list) != blocks {
			return nil, fmt.Errorf("config.json: transformer_layers_per_block has %d numbers for %d blocks", len(list), blocks)
		}
		return slices.Clone(list), nil
	}
	return nil, fmt.Errorf("config.json: block type %q is not supported", kind)
}

// parseText reads the configuration of a CLIPTextModel, with or without projection.
func parseText(data []byte) (TextConfig, error) {
	var d = struct {
		Hidden       int      `json:"hidden_size"`
		Intermediate int      `json:"intermediate_size"`
		Layers       int      `json:"num_hidden_layers"`
		Heads        int      `json:"num_attention_heads"`
		Vocabulary   int      `json:"vocab_size"`
		Positions    int      `json:"max_position_embeddings"`
		Activation   string   `json:"hidden_act"`
		Eps          float64  `json:"layer_norm_eps"`
		Projection   int      `json:"projection_dim"`
		Classes      []string `json:"architectures"`
	}{512, 2048, 12, 8, 49408, 77, "quick_gelu", 1e-5, 512, nil}
	if err := readConfig(data, &d); err != nil {
		return TextConfig{}, err
	}
	c := TextConfig{Hidden: d.Hidden, Intermediate: d.Intermediate, Layers: d.Layers, Heads: d.Heads, Vocabulary: d.Vocabulary,
		Positions: d.Positions, Eps: d.Eps, ContextNorm: true}
	if slices.Contains(d.Classes, "CLIPTextModelWithProjection") {
		c.Projection = d.Projection
	}
	act, ok := map[string]nn.Activation{"quick_gelu": nn.QuickGELU, "gelu": nn.GELU}[d.Activation]
	if !ok {
		return TextConfig{}, fmt.Errorf("config.json: hidden_act %q is not supported (quick_gelu, gelu)", d.Activation)
	}
	c.Activation = act
	return c, c.check()
}

// parseVAE reads the configuration of an AutoencoderKL or an AutoencoderTiny.
func parseVAE(data []byte) (VAEConfig, error) {
	var d = struct {
		Class      string  `json:"_class_name"`
		Picture    int     `json:"in_channels"`
		Latent     int     `json:"latent_channels"`
		Widths     []int   `json:"block_out_channels"`
		Layers     int     `json:"layers_per_block"`
		Groups     int     `json:"norm_num_groups"`
		Attention  bool    `json:"mid_block_add_attention"`
		Scale      float64 `json:"scaling_factor"`
		Shift      float64 `json:"shift_factor"`
		Activation string  `json:"act_fn"`
	}{"AutoencoderKL", 3, 4, []int{64}, 1, 32, true, 0.18215, 0, "silu"}
	if err := readConfig(data, &d); err != nil {
		return VAEConfig{}, err
	}
	if d.Class == "AutoencoderTiny" {
		return parseTinyVAE(data)
	}
	if d.Activation != "silu" || d.Shift != 0 {
		return VAEConfig{}, fmt.Errorf("config.json: act_fn %q with shift_factor %v is not supported", d.Activation, d.Shift)
	}
	c := VAEConfig{Picture: d.Picture, Latent: d.Latent, Widths: d.Widths, Layers: d.Layers, Groups: d.Groups,
		MidAttention: d.Attention, Scale: d.Scale}
	return c, c.check()
}
