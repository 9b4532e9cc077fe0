package engine

import (
	"fmt"

	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/sd"
)

// LoRAResults are the pipeline's reports in the service's terms.
func LoRAResults(reports []sd.LoRAReport) (all []job.LoRAResult) {
	for _, r := range reports {
		all = append(all, job.LoRAResult{
			Name: r.Name, Hash: r.Hash, Strength: r.UNet, Text: r.Text,
			Matched: r.Matched, Unmatched: r.Unmatched, Misshapen: r.Misshapen, LeftOut: r.LeftOut,
		})
	}
	return all
}

// lorasOf a drawing, where it knows any.
func lorasOf(d Drawing) []job.LoRAResult {
	if d, ok := d.(interface{ LoRAs() []sd.LoRAReport }); ok {
		return LoRAResults(d.LoRAs())
	}
	return nil
}

// promptWithLoRAs names the LoRAs in the prompt, as other programs keep them.
func promptWithLoRAs(r job.Request) string {
	text := r.Prompt
	for _, l := range r.LoRAs {
		text += fmt.Sprintf(" <lora:%s:%v>", l.Path, l.Strength)
	}
	return text
}

// loraHashes is the field that tells which files they were.
func loraHashes(loras []job.LoRAResult) []picture.Field {
	var all []string
	for _, l := range loras {
		all = append(all, l.Name+": "+l.Hash)
	}
	return listed("Lora hashes", all)
}
