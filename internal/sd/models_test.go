package sd

import (
	"path/filepath"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/models"
)

// openGolden opens a model of the golden set: its diffusers folder or its single file.
func openGolden(t *testing.T, name, layout string) *models.Model {
	t.Helper()
	path := goldens.Path(t, "models/"+name+map[string]string{"folder": "", "file": ".safetensors"}[layout])
	if layout == "folder" && !hasWeights(path) {
		t.Skip("the golden set has this model as a single file only")
	}
	m, err := models.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func hasWeights(folder string) bool {
	found, _ := filepath.Glob(filepath.Join(folder, "unet", "*.safetensors"))
	return len(found) > 0
}

func goldenNetworks(t *testing.T, name, layout string) Networks {
	t.Helper()
	n, _, err := readNetworks(openGolden(t, name, layout))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
