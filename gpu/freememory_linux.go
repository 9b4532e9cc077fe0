package gpu

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// freeMemory is what the system can give without swapping, in bytes: what is available, or what is left of the control
// group's limit where that is less, as in a container.
func freeMemory() (uint64, bool) {
	free, known := available()
	for _, dir := range controlGroups() {
		limit, limited := readNumber(filepath.Join(dir, "memory.max"))
		used, ok := readNumber(filepath.Join(dir, "memory.current"))
		if limited && ok {
			left := max(limit, used) - used + reclaimable(dir)
			if !known || left < free {
				free, known = left, true
			}
		}
	}
	return free, known
}

func available() (uint64, bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib uint64
		if _, err := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); err == nil {
			return kib << 10, true
		}
	}
	return 0, false
}

// controlGroups lists the process's control group (version 2) and those it is in, as folders.
func controlGroups() []string {
	const root = "/sys/fs/cgroup"
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ok && path != "/" && path != "." {
			dirs = append(dirs, filepath.Join(root, path))
			path = filepath.Dir(path)
		}
	}
	return append(dirs, root)
}

// reclaimable is the file cache that a group gives up before it runs out of memory.
func reclaimable(dir string) uint64 {
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(stat) {
		if value, ok := bytes.CutPrefix(line, []byte("inactive_file ")); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
			return n
		}
	}
	return 0
}

// readNumber reads a file that holds one number; "max" is none.
func readNumber(path string) (uint64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
