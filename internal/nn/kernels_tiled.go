package nn

import "waggle/shaders"

// enoughWorkgroups is how many workgroups keep a large GPU busy; small results are cut into smaller tiles up to there.
const enoughWorkgroups = 256

// tiledMatrix chooses among the variants of conv_tiled: 64, 32 or 16 rows of results a workgroup. The order of summation
// is the same in all.
func tiledMatrix(rows, columns int) tile {
	laneRows := tiledLaneRows(rows, columns)
	return tile{name: "conv_tiled", constants: shaders.Constants{"LANE_ROWS": u32(laneRows)},
		rows: 8 * laneRows, columns: panelColumns, inputs: blockInputs}
}

// tiledProduct chooses among the variants of matmul_tiled.
func tiledProduct(rows, columns int) tile {
	laneRows := tiledLaneRows(rows, columns)
	return tile{name: "matmul_tiled", constants: shaders.Constants{"LANE_ROWS": u32(laneRows)}, rows: 8 * laneRows, columns: 64, inputs: 4}
}

func tiledLaneRows(rows, columns int) int {
	laneRows := 8
	for laneRows > 2 && ceil(rows, 8*laneRows)*ceil(columns, 64) < enoughWorkgroups {
		laneRows /= 2
	}
	return laneRows
}

// tiledAttention is attention_tiled for heads of 4·texels, with as many keys at a time as fit memory bytes of workgroup
// memory. Lanes keep at most 16 vec4s of a query where the head divides so, and at most 4 of them share one.
func tiledAttention(texels, memory int) tile {
	own := texels
	for parts := 2; parts <= 4 && own > 16; parts++ {
		if texels%parts == 0 {
			own = texels / parts
		}
	}
	keys := 32
	for keys > 4 && 32*keys*texels+2048*(texels/own) > memory {
		keys /= 2
	}
	return tile{name: "attention_tiled", rows: 64, columns: 1,
		constants: shaders.Constants{"TEXELS": u32(texels), "OWN": u32(own), "KEYS": u32(keys)}}
}
