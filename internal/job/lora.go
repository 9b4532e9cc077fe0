package job

import (
	"fmt"
	"strings"
)

// LoRAResult says what a LoRA did to the model: how many of its modules changed
// a layer, and how many could not.
type LoRAResult struct {
	Name      string   `json:"name"`               // in the server's folder
	Hash      string   `json:"hash"`               // of its numbers: the first twelve digits of a SHA-256
	Strength  float64  `json:"strength"`           // with which it changed the UNet
	Text      float64  `json:"strength_text"`      // with which it changed the text encoders
	Matched   int      `json:"matched"`            // modules that changed a layer of the model
	Unmatched int      `json:"unmatched"`          // modules for layers that the model does not have
	Misshapen int      `json:"misshapen"`          // modules whose shape is not that of the layer
	LeftOut   []string `json:"left_out,omitempty"` // some of those that changed nothing
}

// String is one line for people.
func (l LoRAResult) String() string {
	s := fmt.Sprintf("LoRA %s at %v", l.Name, l.Strength)
	if l.Text != l.Strength {
		s += fmt.Sprintf(" (text %v)", l.Text)
	}
	s += fmt.Sprintf(": %d modules matched", l.Matched)
	if l.Unmatched+l.Misshapen > 0 {
		s += fmt.Sprintf(", %d unmatched, %d misshapen: %s", l.Unmatched, l.Misshapen, strings.Join(l.LeftOut, ", "))
	}
	return s
}
