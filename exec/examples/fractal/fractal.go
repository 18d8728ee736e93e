// Package fractal holds a guest program that ray-traces one tile of a picture, and what a
// requester needs around it: the list of tiles and the picture made of their results.
//
// The program is fractal.c; fractal.wasm is built from it by build.sh.
package fractal

import (
	"bytes"
	_ "embed"
	"fmt"
	"image"
	"image/color"
)

// Wasm is the program: one line of Tiles on stdin, one tile as PPM on stdout.
//
//go:embed fractal.wasm
var Wasm []byte

// MaxSide is the widest and highest picture, in pixels.
const MaxSide = 1 << 14

// Tiles returns the inputs of a job that renders w × h pixels in tiles of at most size × size
// pixels: "x0 y0 w h W H", row by row from the top left. Sizes below 1 give no tiles.
func Tiles(w, h, size int) []string {
	var tiles []string
	if size < 1 {
		return nil
	}
	for y := 0; y < h; y += size {
		for x := 0; x < w; x += size {
			tiles = append(tiles, fmt.Sprintf("%d %d %d %d %d %d", x, y, min(size, w-x), min(size, h-y), w, h))
		}
	}
	return tiles
}

// Assemble puts the results of all tiles together, in any order. It fails when a result is no tile, when
// tiles are of different pictures or overlap, and when some are missing.
func Assemble(tiles [][]byte) (image.Image, error) {
	var img *image.RGBA
	painted, given := 0, 0
	for _, b := range tiles {
		given += len(b) / 3
	}
	for i, b := range tiles {
		t, err := parseTile(b)
		if err != nil {
			return nil, fmt.Errorf("tile %d: %w", i, err)
		}
		if whole := t.whole.Dx() * t.whole.Dy(); whole > given {
			return nil, fmt.Errorf("%d of %d pixels are missing: run the units that failed again", whole-given, whole)
		}
		if img == nil {
			img = image.NewRGBA(t.whole)
		}
		if img.Rect != t.whole {
			return nil, fmt.Errorf("tile %d is of a picture of %v pixels, not %v", i, t.whole.Max, img.Rect.Max)
		}
		for y := t.at.Min.Y; y < t.at.Max.Y; y++ {
			for x := t.at.Min.X; x < t.at.Max.X; x++ {
				if img.RGBAAt(x, y).A != 0 {
					return nil, fmt.Errorf("tile %d at %v is there twice", i, t.at.Min)
				}
				img.SetRGBA(x, y, color.RGBA{t.rgb[0], t.rgb[1], t.rgb[2], 255})
				t.rgb = t.rgb[3:]
			}
		}
		painted += t.at.Dx() * t.at.Dy()
	}
	if img == nil {
		return nil, fmt.Errorf("no tiles")
	}
	if whole := img.Rect.Dx() * img.Rect.Dy(); painted < whole {
		return nil, fmt.Errorf("%d of %d pixels are missing: run the units that failed again", whole-painted, whole)
	}
	return img, nil
}

// A tile is one result: 3 bytes for each pixel of at, in rows.
type tile struct {
	at, whole image.Rectangle
	rgb       []byte
}

func parseTile(b []byte) (t tile, err error) {
	var x, y, w, h, W, H int
	end := 0
	for range 4 { // "P6", "# x y W H", "w h", "255"
		n := bytes.IndexByte(b[end:min(len(b), 128)], '\n')
		if n < 0 {
			return t, fmt.Errorf("not a tile: %.20q", b)
		}
		end += n + 1
	}
	if _, err := fmt.Sscanf(string(b[:end]), "P6\n# %d %d %d %d\n%d %d\n255\n", &x, &y, &W, &H, &w, &h); err != nil {
		return t, fmt.Errorf("not a tile: %.20q", b)
	}
	t = tile{image.Rect(x, y, x+w, y+h), image.Rect(0, 0, W, H), b[end:]}
	if w < 1 || h < 1 || x < 0 || y < 0 || W > MaxSide || H > MaxSide || x > W-w || y > H-h || len(t.rgb) != 3*w*h {
		return t, fmt.Errorf("%d bytes for %d x %d pixels at %d,%d of %d x %d", len(t.rgb), w, h, x, y, W, H)
	}
	return t, nil
}
