package sd

import (
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/models"
)

// A picture drawn from a torch checkpoint is the one of the safetensors file.
func TestGoldenPipelineFromCheckpoint(t *testing.T) {
	const name = "sd2.txt2img.euler.4"
	m, err := models.Open(goldens.Path(t, "models/sd2.ckpt"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p, err := newPipeline(plainGo{}, m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var index struct{ Cases map[string]runCase }
	goldens.JSON(t, "pipeline/index.json", &index)
	c, ok := index.Cases[name]
	if !ok {
		t.Fatalf("no case %s", name)
	}
	goldenRun{T: t, Pipeline: p, c: c, in: goldens.Tensors(t, "pipeline/"+c.File)}.check("euler", 4)
}
