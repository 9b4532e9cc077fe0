package nn

// Panels of the tiled and plain families: 64 columns wide, inputs in blocks of 16.
const (
	panelColumns = 64
	blockInputs  = 16
)

// packTiles orders the weights of a linear layer or convolution for conv_tiled and conv_plain: w [out,in,taps], bits of
// f16 → [⌈out/64⌉,taps,⌈in/16⌉,8,16,2,4]: block by block of 16 inputs, 2 inputs × 4 outputs in every 16 bytes. Places
// beyond in and out are zero.
func packTiles(w []uint16, out, in, taps int) []uint16 {
	panels, tap := ceil(out, panelColumns), ceil(in, blockInputs)*blockInputs*panelColumns
	packed := make([]uint16, panels*taps*tap)
	parallel(panels, func(panel int) {
		for column := range min(panelColumns, out-panel*panelColumns) {
			row := w[(panel*panelColumns+column)*in*taps:][:in*taps]
			for i := range taps {
				packColumn(packed[(panel*taps+i)*tap:], row[i:], column, in, taps)
			}
		}
	})
	return packed
}

// packColumn places the in weights row[0], row[step], row[2·step] … of one column in a panel.
func packColumn(panel, row []uint16, column, in, step int) {
	at := column/4*8 + column%4
	for i := range in {
		panel[i/2*2*panelColumns+i%2*4+at] = row[i*step]
	}
}

// ceil is ⌈n/by⌉.
func ceil(n, by int) int { return (n + by - 1) / by }
