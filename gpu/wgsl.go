package gpu

import (
	"fmt"
	"regexp"
	"strings"
)

// bindingSlot is one @binding of a kernel, read off its text.
type bindingSlot struct {
	name   string
	access Access
	format Format
}

var bindingLine = regexp.MustCompile(`(?m)^@group\(0\)\s*@binding\((\d+)\)\s*var(<[^>]*>)?\s+(\w+)\s*:\s*([^;]+);`)

// bindingSlots lists the bindings of group 0 in order. The package's kernels number them from 0 without gaps.
func bindingSlots(source string) ([]bindingSlot, error) {
	var slots []bindingSlot
	for _, m := range bindingLine.FindAllStringSubmatch(source, -1) {
		if fmt.Sprint(len(slots)) != m[1] {
			return nil, fmt.Errorf("binding %s of %s is out of order", m[1], m[3])
		}
		slot := bindingSlot{name: m[3]}
		switch space, kind := m[2], m[4]; {
		case strings.Contains(space, "uniform"):
			slot.access = Uniform
		case strings.Contains(space, "read_write"):
			slot.access = WriteBuffer
		case strings.Contains(space, "storage"):
			slot.access = ReadBuffer
		case strings.HasPrefix(kind, "texture_storage_2d"):
			slot.access = ReadImage
			if strings.Contains(kind, "write") {
				slot.access = WriteImage
			}
			if strings.Contains(kind, "uint") {
				slot.format = Uint4
			}
		default:
			return nil, fmt.Errorf("binding %s has the unknown kind %s", m[3], kind)
		}
		slots = append(slots, slot)
	}
	return slots, nil
}
