package sd

import (
	"slices"

	"waggle/internal/lora"
	"waggle/internal/weights"
)

// loraParts are the parts of a model that LoRAs change.
func (n Networks) loraParts() []lora.Part {
	parts := []lora.Part{{Kind: lora.UNet, Tensors: n.unet.tensors, Names: weights.UNetNames(n.unet.config.topology())}}
	for i, text := range n.text {
		parts = append(parts, lora.Part{Kind: lora.Text + lora.Kind(i), Tensors: text.tensors})
	}
	return parts
}

// topology is what the names of the UNet's tensors depend on in other programs.
func (c UNetConfig) topology() weights.UNetTopology {
	attends := func(depths []int) bool { return slices.Max(depths) > 0 }
	var t weights.UNetTopology
	for level, depths := range c.Down {
		t.Layers = append(t.Layers, len(depths))
		t.DownAttention = append(t.DownAttention, attends(depths))
		t.UpAttention = append(t.UpAttention, attends(c.Up[level]))
	}
	return t
}
