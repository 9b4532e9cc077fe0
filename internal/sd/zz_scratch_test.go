package sd

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"waggle/internal/models"
	"waggle/internal/nn"
)

func cpuNow() time.Duration {
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 2, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

func TestScratchSD15(t *testing.T) {
	size, _ := strconv.Atoi(os.Getenv("LATENT"))
	if size == 0 {
		size = 32
	}
	d := testDevice(t)
	r, err := nn.NewRuntime(d, nn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := os.Getenv("MODEL")
	var m *models.Model
	if name == "" {
		m, err = models.Random("sd15")
	} else {
		m, err = models.Open(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := readNetworks(m)
	if err != nil {
		t.Fatal(err)
	}
	g := unetGraph(n.unet, 2, size, size, 77)
	if os.Getenv("VAE") != "" {
		g = decodeGraph(n.vae, size, size)
	}
	t0 := time.Now()
	c0 := cpuNow()
	e, err := r.Compile(g, r.NewWeights(m.UNet.Tensors))
	if os.Getenv("VAE") != "" {
		e, err = r.Compile(g, r.NewWeights(m.VAE.Tensors))
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("compile", time.Since(t0), "cpu", cpuNow()-c0)
	p := e.Plan()
	fmt.Printf("plan weights %d buffers %d images %d MB stages %d\n", p.Weights>>20, p.Buffers>>20, p.Images>>20, p.Stages)
	if os.Getenv("VAE") != "" {
		e.SetInput("latent", make([]float32, size*size*4))
	} else {
		e.SetInput("sample", make([]float32, 2*size*size*4))
		e.SetInput("time", make([]float32, 2*n.unet.config.Widths[0]))
		e.SetInput("context", make([]float32, 2*77*n.unet.config.Context))
	}
	out := "prediction"
	if os.Getenv("VAE") != "" {
		out = "picture"
	}
	for i := 0; i < 4; i++ {
		t0, c0 := time.Now(), cpuNow()
		if err := e.Run(0); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Output(out); err != nil {
			t.Fatal(err)
		}
		fmt.Println("run", time.Since(t0), "cpu", cpuNow()-c0)
	}
	if os.Getenv("PROFILE") != "" {
		rows, err := e.Profile(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			fmt.Println(row)
		}
	}
}
