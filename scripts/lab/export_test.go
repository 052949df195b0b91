package lab

// NewAfter is New with a function that runs once the lab is claimed, before any of
// its namespaces is made.
func NewAfter(prefix string, chain []string, claimed func(id string)) (*Lab, error) {
	c, err := newClaim(prefix, chain)
	if err != nil {
		return nil, err
	}
	claimed(c.id)
	return finish(c, chain)
}

// CheckRecord tells whether a lab's record may name the namespace.
func CheckRecord(id, namespace string) error {
	return record{Namespaces: []string{namespace}}.check(id)
}
