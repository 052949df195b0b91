// Package chart draws bars as SVG, for a README.
//
// A picture has a panel for each thing compared, two in a row, and a panel a bar for
// each contender, with a line over it from the least to the most that was measured.
// Panels have scales of their own: bars compare within one.
//
// The same figures make the same bytes. There is no background, and the colours
// follow prefers-color-scheme, so that a picture is readable on dark and light pages.
package chart

import (
	"bytes"
	"fmt"
	"strings"
)

// Bar is one contender's figure. A bar without a value says Note instead.
type Bar struct {
	Name            string
	Class           string // limit, sluice or peer: its colour
	Value, Min, Max float64
	Note            string
}

// Panel compares bars.
type Panel struct {
	Title string
	Bars  []Bar
}

// Sizes, in pixels.
const (
	width    = 860
	columns  = 2
	column   = width / columns
	header   = 30 // of the picture
	title    = 26 // of a panel
	line     = 18 // a bar with what is between it and the next
	thick    = 12
	gap      = 16 // below a panel
	labels   = 120
	longest  = 205 // bar
	textDrop = 10  // from a line's top to its text's base
)

const style = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .head { font-size: 15px; font-weight: 600 }
  .title { font-weight: 600 }
  .name { text-anchor: end }
  .range { stroke: #1f2328; stroke-width: 1.5 }
  .limit { fill: #8c959f }
  .sluice { fill: #0969da }
  .peer { fill: #bf8700 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .range { stroke: #e6edf3 }
    .limit { fill: #6e7681 }
    .sluice { fill: #4493f8 }
    .peer { fill: #d29922 }
  }
`

// Draw makes a picture.
func Draw(name string, panels []Panel) []byte {
	var body bytes.Buffer
	top := header
	for len(panels) > 0 {
		row := panels[:min(columns, len(panels))]
		panels = panels[len(row):]
		high := 0
		for i, p := range row {
			p.draw(&body, i*column, top)
			high = max(high, p.height())
		}
		top += high
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, top, width, top)
	fmt.Fprintf(&out, "<title>%s</title>\n<style>%s</style>\n", escape(name), style)
	fmt.Fprintf(&out, `<text class="head" x="0" y="16">%s</text>`+"\n", escape(name))
	out.Write(body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func (p Panel) height() int { return title + line*len(p.Bars) + gap }

func (p Panel) draw(out *bytes.Buffer, left, top int) {
	fmt.Fprintf(out, `<text class="title" x="%d" y="%d">%s</text>`+"\n", left, top+textDrop+2, escape(p.Title))
	most := 0.0
	for _, b := range p.Bars {
		most = max(most, b.Value, b.Max)
	}
	for i, b := range p.Bars {
		b.draw(out, left+labels, top+title+line*i, most)
	}
}

// draw puts the bar's beginning at left; a bar of most is longest.
func (b Bar) draw(out *bytes.Buffer, left, top int, most float64) {
	fmt.Fprintf(out, `<text class="name" x="%d" y="%d">%s</text>`, left-6, top+textDrop, escape(b.Name))
	if b.Value <= 0 || most <= 0 {
		fmt.Fprintf(out, `<text x="%d" y="%d">%s</text>`+"\n", left, top+textDrop, escape(b.Note))
		return
	}
	scale := longest / most
	fmt.Fprintf(out, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/>`, escape(b.Class), left, top, b.Value*scale, thick)
	if b.Max > b.Min {
		fmt.Fprintf(out, `<line class="range" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`,
			float64(left)+b.Min*scale, float64(left)+b.Max*scale, top+thick/2, top+thick/2)
	}
	end := float64(left) + max(b.Value, b.Max)*scale
	fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`+"\n", end+6, top+textDrop, escape(b.Note))
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace
