package fractal

import (
	"bytes"
	"fmt"
	"image/color"
	"image/png"
	"os"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

func TestModuleIsWhatItsSourceGives(t *testing.T) { examplestest.SameBytes(t, Wasm) }

// TestTilesMakeThePicture renders a small picture in tiles, whole and apart, and looks at it. With
// P3_PICTURE=file.png it renders a large one and writes it there.
func TestTilesMakeThePicture(t *testing.T) {
	w, h, size := 96, 60, 32
	file := os.Getenv("P3_PICTURE")
	if file != "" {
		w, h, size = 640, 400, 80
	}
	var tiles [][]byte
	for _, in := range Tiles(w, h, size) {
		tiles = append([][]byte{[]byte(examplestest.Text(t, Wasm, in+"\n"))}, tiles...) // in any order
	}
	img, err := Assemble(tiles)
	if err != nil {
		t.Fatal(err)
	}
	if file != "" {
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := Assemble([][]byte{[]byte(examplestest.Text(t, Wasm, Tiles(w, h, max(w, h))[0]))})
	if err != nil {
		t.Fatal(err)
	}
	colours := make(map[color.Color]int)
	for y := range h {
		for x := range w {
			if img.At(x, y) != whole.At(x, y) {
				t.Fatalf("pixel %d,%d depends on the tile it is in", x, y)
			}
			colours[img.At(x, y)]++
		}
	}
	if len(colours) < 1000 {
		t.Errorf("only %d colours", len(colours))
	}
	// The ball in the middle is gold: red over green over blue. The sky is bluer above than at the horizon.
	r, g, b, _ := img.At(w/2, h*45/100).RGBA()
	if r <= g || g <= b {
		t.Errorf("the ball is %x %x %x", r, g, b)
	}
	r0, _, b0, _ := img.At(0, 0).RGBA()
	r1, _, b1, _ := img.At(0, h*33/100).RGBA()
	if b0*r1 <= b1*r0 {
		t.Errorf("the sky is %x red, %x blue above, %x red, %x blue below", r0, b0, r1, b1)
	}
}

func TestSenselessTilesAreRefused(t *testing.T) {
	for _, in := range []string{"", "1 2 3", "0 0 0 1 1 1", "0 0 9 9 8 8", "-1 0 1 1 8 8", "0 0 20000 1 20000 1", "7 7 2 2 8 8", "x"} {
		r := examplestest.Run(t, Wasm, in, exec.Spec{})
		if r.Status != exec.Exited || r.ExitCode != 2 {
			t.Errorf("%q: %s %d", in, r.Status, r.ExitCode)
		}
	}
}

func part(x, y, w, h, W, H int) []byte {
	return append(fmt.Appendf(nil, "P6\n# %d %d %d %d\n%d %d\n255\n", x, y, W, H, w, h), make([]byte, 3*w*h)...)
}

func TestAssembleWantsEveryPixelOnce(t *testing.T) {
	good := [][]byte{part(0, 0, 2, 2, 4, 2), part(2, 0, 2, 2, 4, 2)}
	if _, err := Assemble(good); err != nil {
		t.Error(err)
	}
	for name, tiles := range map[string][][]byte{
		"none":    nil,
		"missing": good[:1],
		"twice":   {good[0], good[0]},
		"mixed":   {good[0], part(0, 0, 2, 2, 2, 4)},
		"short":   {good[0][:20], good[1]},
		"cut":     {good[0][:len(good[0])-1], good[1]},
		"noise":   {[]byte("hello"), good[1]},
	} {
		if _, err := Assemble(tiles); err == nil {
			t.Errorf("%s: assembled", name)
		}
	}
	if n := len(Tiles(640, 400, 80)); n != 40 {
		t.Errorf("%d tiles", n)
	}
	if Tiles(1, 1, 0) != nil {
		t.Error("tiles of no size")
	}
}

func FuzzAssemble(f *testing.F) {
	f.Add(part(0, 0, 2, 2, 4, 2))
	f.Add([]byte("P6\n# 0 0 1 1\n1 1\n255\nabc"))
	f.Add([]byte("P6\n# 0 0 16384 16384\n1 1\n255\nabc"))
	f.Add([]byte("P6\n# 9 9 -1 99999999999999999999\n-1 -1\n255\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := Assemble([][]byte{b, b})
		if err == nil {
			t.Errorf("the same tile twice made a picture of %v", img.Bounds())
		}
		_, _ = Assemble([][]byte{b})
	})
}

// One tile of the demo's picture.
func BenchmarkTile(b *testing.B) {
	tiles := Tiles(640, 400, 80)
	for i := 0; b.Loop(); i++ {
		examplestest.Text(b, Wasm, tiles[i%len(tiles)])
	}
}
