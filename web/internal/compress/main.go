// Compress writes FILE.br and FILE.gz beside each FILE it is given, at the
// strongest level, for a server that hands out precompressed files.
//
//	go run ./web/internal/compress web/static/waggle.wasm
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"

	"github.com/andybalholm/brotli"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: compress FILE...")
		os.Exit(2)
	}
	for _, name := range os.Args[1:] {
		if err := compress(name); err != nil {
			fmt.Fprintln(os.Stderr, "compress:", err)
			os.Exit(1)
		}
	}
}

// compress writes both forms of one file.
func compress(name string) error {
	plain, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var br, gz bytes.Buffer
	zip, err := gzip.NewWriterLevel(&gz, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := fill(brotli.NewWriterLevel(&br, brotli.BestCompression), plain); err != nil {
		return fmt.Errorf("%s as brotli: %w", name, err)
	}
	if err := fill(zip, plain); err != nil {
		return fmt.Errorf("%s as gzip: %w", name, err)
	}
	if err := os.WriteFile(name+".br", br.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(name+".gz", gz.Bytes(), 0o644)
}

// fill writes everything and closes, so that no error is lost.
func fill(w io.WriteCloser, data []byte) error {
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}
