package models

import "waggle/internal/weights"

// Family is the kind of network a model is built of.
type Family string

// The families whose networks are run.
const (
	SD1  Family = "sd1"  // CLIP, 1×1 convolutions around the transformers
	SD2  Family = "sd2"  // OpenCLIP, linear layers there
	SDXL Family = "sdxl" // two text encoders, size conditions
)

// Variant is what a UNet takes besides the noisy latent.
type Variant string

// The variants, by the channels of the first convolution.
const (
	TextToImage Variant = ""        // 4: nothing
	Inpaint     Variant = "inpaint" // 9: mask and masked picture
	Pix2Pix     Variant = "pix2pix" // 8: the picture to change
	UnknownKind Variant = "unknown" // none of these
)

// Summary is what can be told of a model without building it.
type Summary struct {
	Name, Path   string
	Family       Family
	Variant      Variant
	Channels     int // of the UNet's first convolution
	ContextWidth int // of the text states the UNet attends to; 0 if it has no attention
	Parameters   int64
	Bytes        int64 // of the parts' tensors
	Parts        []PartSummary
}

// PartSummary counts one network.
type PartSummary struct {
	Name       string // "unet", "vae", "text_encoder", "text_encoder_2"
	Tensors    int
	Parameters int64
	Bytes      int64
	DTypes     map[string]int // tensors of each type, such as {"F16": 686}
}

// Inspect summarises an open model. Family and variant are read off tensor
// shapes, so that they do not depend on configuration files being there.
func Inspect(m *Model) Summary {
	s := Summary{Name: m.Name, Path: m.Path, Family: family(m)}
	s.Channels = extent(m.UNet.Tensors, "input_blocks.0.0.weight", 1)
	s.Variant = variant(s.Channels)
	s.ContextWidth = contextWidth(m.UNet.Tensors)
	for _, p := range m.parts() {
		part := count(p)
		s.Parameters += part.Parameters
		s.Bytes += part.Bytes
		s.Parts = append(s.Parts, part)
	}
	return s
}

func count(p namedPart) PartSummary {
	s := PartSummary{Name: p.name, DTypes: map[string]int{}}
	for _, name := range p.Tensors.Names() {
		t, ok := p.Tensors.Tensor(name)
		if !ok {
			continue
		}
		s.Tensors++
		s.Parameters += int64(t.Elements())
		s.Bytes += int64(len(t.Data))
		s.DTypes[t.DType.String()]++
	}
	return s
}

// family guesses from structure, not width, so that narrow models are known too.
func family(m *Model) Family {
	if _, sizes := m.UNet.Tensors.Tensor("label_emb.0.0.weight"); sizes && m.Text2 != nil {
		return SDXL
	}
	projection, _ := m.UNet.Tensors.Tensor("middle_block.1.proj_in.weight")
	if len(projection.Shape) == 2 {
		return SD2
	}
	return SD1
}

func variant(channels int) Variant {
	switch channels {
	case 4:
		return TextToImage
	case 8:
		return Pix2Pix
	case 9:
		return Inpaint
	}
	return UnknownKind
}

// contextWidth is the input width of the middle block's cross-attention.
func contextWidth(unet weights.Source) int {
	return extent(unet, "middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1)
}

// extent is the size of one axis of a tensor, 0 if it has none.
func extent(src weights.Source, name string, axis int) int {
	t, ok := src.Tensor(name)
	if !ok || axis >= len(t.Shape) {
		return 0
	}
	return t.Shape[axis]
}
