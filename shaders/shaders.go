// Package shaders holds the WGSL compute kernels, one valid .wgsl file each, and makes the text that a device compiles
// out of them.
//
// A file's tunables are `const` and `alias` lines with working defaults. [Source] replaces their right-hand sides and
// unrolls the loops that a `// unroll` comment marks: software adapters run the unrolled text an order of magnitude
// faster, since they keep arrays that a loop variable indexes in memory. Inside unrolled loops subgroupShuffle becomes
// subgroupBroadcast, which wants a constant lane.
package shaders

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"sort"
	"strings"
)

//go:embed *.wgsl
var files embed.FS

// Names lists the kernels in alphabetical order, without ".wgsl".
func Names() []string {
	paths, _ := fs.Glob(files, "*.wgsl")
	names := make([]string, 0, len(paths))
	for _, p := range paths {
		names = append(names, strings.TrimSuffix(path.Base(p), ".wgsl"))
	}
	sort.Strings(names)
	return names
}

// File is the text of kernel name as it lies on disk.
func File(name string) (string, error) {
	raw, err := files.ReadFile(name + ".wgsl")
	if err != nil {
		return "", fmt.Errorf("shader %s: no such kernel", name)
	}
	return string(raw), nil
}

// Constants maps the names of a file's const and alias lines to new right-hand sides, such as {"ROWS": "16"}.
type Constants map[string]string

// Source returns the text of kernel name with constants set and marked loops unrolled. It fails for an unknown kernel,
// for a constant that the file does not have, and for a marked loop whose bounds are not constant.
func Source(name string, constants Constants) (string, error) {
	raw, err := File(name)
	if err != nil {
		return "", err
	}
	text, err := setConstants(raw, constants)
	if err != nil {
		return "", fmt.Errorf("shader %s: %w", name, err)
	}
	text, err = unroll(text)
	if err != nil {
		return "", fmt.Errorf("shader %s: %w", name, err)
	}
	return text, nil
}

var declaration = regexp.MustCompile(`^(const|alias)\s+(\w+)\s*(:\s*[\w<>]+\s*)?=\s*([^;]+);`)

func setConstants(text string, constants Constants) (string, error) {
	lines := strings.Split(text, "\n")
	set := map[string]bool{}
	for i, line := range lines {
		m := declaration.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if value, ok := constants[m[2]]; ok {
			set[m[2]] = true
			lines[i] = fmt.Sprintf("%s %s%s = %s;", m[1], m[2], strings.TrimRight(m[3], " "), value)
		}
	}
	for name := range constants {
		if !set[name] {
			return "", fmt.Errorf("it has no constant %s", name)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// constantValues are the text's u32 constants as numbers.
func constantValues(text string) map[string]uint64 {
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		if m := declaration.FindStringSubmatch(line); m != nil && m[1] == "const" {
			if v, err := evaluate(m[4], values); err == nil {
				values[m[2]] = v
			}
		}
	}
	return values
}
