package nn

import "sync"

// Panels of the tiled and plain families: 64 columns wide, inputs in blocks of 16.
const (
	panelColumns = 64
	blockInputs  = 16
)

// packTiles orders the weights of a linear layer or convolution for conv_tiled and conv_plain: w [out,in,taps] as bits of
// f16 (uint16) or f32 (uint32) → [⌈out/64⌉,taps,⌈in/16⌉,16/T,16,T,4], where T inputs × 4 outputs make 16 bytes: T = 2 for
// f16, 1 for f32. Places beyond in and out are zero.
func packTiles[Bits uint16 | uint32](w []Bits, out, in, taps int) []Bits {
	panels, blocks := ceil(out, panelColumns), ceil(in, blockInputs)
	packed := make([]Bits, panels*taps*blocks*blockInputs*panelColumns)
	var wg sync.WaitGroup
	for panel := range panels {
		wg.Go(func() {
			for column := range min(panelColumns, out-panel*panelColumns) {
				row := w[(panel*panelColumns+column)*in*taps:][:in*taps]
				for tap := range taps {
					packColumn(packed[(panel*taps+tap)*blocks*blockInputs*panelColumns:], row[tap:], column, in, taps)
				}
			}
		})
	}
	wg.Wait()
	return packed
}

// packColumn places the in weights row[0], row[step], row[2·step] … of one column in a panel.
func packColumn[Bits uint16 | uint32](panel, row []Bits, column, in, step int) {
	together := texelInputs[Bits]()
	at := column/4*4*together + column%4
	for i := range in {
		panel[i/together*together*panelColumns+i%together*4+at] = row[i*step]
	}
}

// texelInputs is how many inputs × 4 outputs make 16 bytes.
func texelInputs[Bits uint16 | uint32]() int {
	if ^Bits(0) == Bits(0xffff) {
		return 2
	}
	return 1
}

// ceil is ⌈n/by⌉.
func ceil(n, by int) int { return (n + by - 1) / by }
