package nn

import "waggle/shaders"

func plainMatrix() tile {
	return tile{name: "conv_plain", constants: shaders.Constants{"LANE_ROWS": "8u"}, rows: 32, columns: panelColumns, inputs: blockInputs}
}

func plainProduct() tile {
	return tile{name: "matmul_plain", constants: shaders.Constants{"LANE_ROWS": "8u"}, rows: 32, columns: 64, inputs: 4}
}

// plainAttention is attention_plain for heads of 4·texels. Lanes make at most 20 vec4s of a result where the head divides
// so, and as many results as fill 40; several lanes each compute the scores of a longer head.
func plainAttention(texels, queries int) tile {
	own := texels
	for parts := 2; own > 20 && parts <= texels; parts++ {
		if texels%parts == 0 {
			own = texels / parts
		}
	}
	each := 1
	switch {
	case own <= 10 && queries >= 256:
		each = 4
	case own <= 20 && queries >= 128:
		each = 2
	}
	return tile{name: "attention_plain", rows: 64 * each, columns: texels / own,
		constants: shaders.Constants{"TEXELS": u32(texels), "OWN": u32(own), "QUERIES": u32(each)}}
}
