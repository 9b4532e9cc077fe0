package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"waggle/internal/job"
)

// addLoRAs writes --lora into a request.
func (f *pictureFlags) addLoRAs(r *job.Request) error {
	for _, text := range f.LoRA {
		name, strength, err := parseLoRA(text)
		if err != nil {
			return err
		}
		if isFile(name) {
			if f.Server != "" {
				return fmt.Errorf("--lora %s: files stay on this machine: a server takes the name of a LoRA in its own folders", name)
			}
			name = fileName(name)
		}
		r.LoRAs = append(r.LoRAs, job.LoRA{Path: name, Strength: strength})
	}
	return nil
}

// loraFiles are the files among --lora, by the names that they go by in requests.
func (f *pictureFlags) loraFiles() (map[string]string, error) {
	files := map[string]string{}
	for _, text := range f.LoRA {
		path, _, err := parseLoRA(text)
		if err != nil {
			return nil, err
		}
		if !isFile(path) {
			continue
		}
		if other, twice := files[fileName(path)]; twice && other != path {
			return nil, fmt.Errorf("--lora %s and %s have the same name: rename one", other, path)
		}
		files[fileName(path)] = path
	}
	return files, nil
}

// parseLoRA takes a flag's strength off; without one it is 1.
func parseLoRA(text string) (name string, strength float64, err error) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 || isFile(text) {
		return text, 1, nil
	}
	if strength, err = strconv.ParseFloat(text[at+1:], 64); err != nil || at == 0 {
		return "", 0, fmt.Errorf("--lora %q: want NAME or NAME:STRENGTH, such as style:0.8", text)
	}
	return text[:at], strength, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// fileName is what a file goes by in a request.
func fileName(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
