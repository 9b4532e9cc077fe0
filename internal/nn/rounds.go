package nn

import (
	"strconv"
	"strings"

	"waggle/gpu"
	"waggle/shaders"
)

// softwareRounds is how often an invocation may go round its loops, all of them together, on Mesa's software driver:
// there it is silently sent on after 65535 rounds, and results are wrong.
const softwareRounds = 65535

// checkRounds refuses a dispatch that the adapter would cut short.
func (c *compiler) checkRounds(name string, constants shaders.Constants, params []int) {
	if n := rounds(name, constants, params); n > softwareRounds && c.runtime.device.Adapter().Kind == gpu.Software {
		c.fail("kernel %s would go round its loops %d times, and a software adapter stops at %d: use a smaller picture", name, n, softwareRounds)
	}
}

// rounds is the most an invocation of a kernel goes round its loops, by the kernel's parameters; loops that are unrolled
// do not count. 0 for kernels without loops.
func rounds(name string, constants shaders.Constants, p []int) int {
	number := func(constant string) int {
		n, _ := strconv.Atoi(strings.TrimSuffix(constants[constant], "u"))
		return max(n, 1)
	}
	switch name {
	case "conv_subgroup":
		return number("TAPS") * (p[4] + 1)
	case "gated_subgroup":
		return p[3] + 1
	case "conv_tiled":
		return number("TAPS") * ((16+1)*p[4] + 1)
	case "conv_plain":
		return number("TAPS") * (p[3] + 1)
	case "matmul_subgroup", "matmul_plain":
		return p[1]
	case "matmul_tiled":
		return (16 + 1) * ceil(p[1], 4)
	case "attention_subgroup":
		return ceil(p[1], number("LANES"))
	case "attention_tiled":
		keys := number("KEYS")
		return ceil(p[1], keys) * (1 + ceil(keys*number("TEXELS"), 64) + keys/4)
	case "attention_plain":
		return ceil(p[1], 4) * (1 + number("TEXELS")/number("OWN"))
	case "layer_norm":
		return 2 * p[1]
	case "softmax":
		return 3 * p[1]
	case "group_norm_sums":
		return p[2]
	case "group_norm_finish":
		return p[4] * (2*p[2] + 3)
	}
	return 0
}
