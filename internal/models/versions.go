package models

import (
	"path"
	"slices"
	"strings"
)

// versions are well-known models: the short names that rbee's workers have for them, and last the repository they come from
// (operations-contract and sd-worker-rbee, model versions).
var versions = [][]string{
	{"v1-5", "v1.5", "1.5", "sd1.5", "runwayml/stable-diffusion-v1-5"},
	{"v1-5-inpaint", "v1.5-inpaint", "sd1.5-inpaint", "stable-diffusion-v1-5/stable-diffusion-inpainting"},
	{"v2-1", "v2.1", "2.1", "sd2.1", "stabilityai/stable-diffusion-2-1"},
	{"v2-inpaint", "v2.1-inpaint", "sd2-inpaint", "stabilityai/stable-diffusion-2-inpainting"},
	{"xl", "sdxl", "stabilityai/stable-diffusion-xl-base-1.0"},
	{"xl-inpaint", "sdxl-inpaint", "diffusers/stable-diffusion-xl-1.0-inpainting-0.1"},
	{"turbo", "sdxl-turbo", "stabilityai/sdxl-turbo"},
}

// otherNames are those under which a well-known model may lie in a folder: its repository's, that without the owner, and
// its short ones. None for any other model.
func otherNames(name string) []string {
	for _, names := range versions {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			continue
		}
		repository := names[len(names)-1]
		return append([]string{repository, path.Base(repository)}, names[:len(names)-1]...)
	}
	return nil
}
