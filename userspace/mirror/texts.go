package mirror

// texts gives each different text a number, and counts who uses it.
type texts struct {
	byText map[string]*textState
	next   uint32
	pieces int // that they take in the map
}

type textState struct {
	id   uint32
	uses int
}

func newTexts() *texts { return &texts{byText: map[string]*textState{}, next: 1} }

// id is that of a text that is there, and 0 of "".
func (t *texts) id(text string) uint32 {
	if s := t.byText[text]; s != nil {
		return s.id
	}
	return 0
}

// use counts a user, and tells whether the text is new.
func (t *texts) use(text string) bool {
	s := t.byText[text]
	isNew := s == nil
	if isNew {
		s = &textState{id: t.next}
		t.next++
		t.byText[text] = s
		t.pieces += takes(text)
	}
	s.uses++
	return isNew
}

// drop undoes use, and returns the id of a text that nobody uses any more.
func (t *texts) drop(text string) (id uint32, gone bool) {
	s := t.byText[text]
	if s == nil {
		return 0, false // of a route that could not be read
	}
	if s.uses--; s.uses > 0 {
		return 0, false
	}
	delete(t.byText, text)
	t.pieces -= takes(text)
	return s.id, true
}

// takes is how many entries a text takes.
func takes(text string) int { return max(1, (len(text)+textSize-1)/textSize) }

// encodeText yields the entries of a text, the last first: so one that has its first
// is whole.
func encodeText(id uint32, text string, yield func(TextKey, TextRecord) bool) bool {
	for part := takes(text) - 1; part >= 0; part-- {
		key := TextKey{id, uint32(part)}
		rec := TextRecord{Bytes: uint32(len(text))}
		copy(rec.Text[:], text[part*textSize:])
		seal(&key, &rec)
		if !yield(key, rec) {
			return false
		}
	}
	return true
}

// textParts collects the entries of a text as they come.
type textParts struct {
	text []byte
	got  []bool
	left int
}

func newTextParts(bytes uint32) *textParts {
	n := max(1, (int(bytes)+textSize-1)/textSize)
	return &textParts{text: make([]byte, bytes), got: make([]bool, n), left: n}
}

// add is false for what does not fit the entries before.
func (p *textParts) add(key *TextKey, rec *TextRecord) bool {
	if int(rec.Bytes) != len(p.text) || int(key.Part) >= len(p.got) || p.got[key.Part] {
		return false
	}
	copy(p.text[int(key.Part)*textSize:], rec.Text[:])
	p.got[key.Part] = true
	p.left--
	return true
}
