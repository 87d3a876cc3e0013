package streamconf

import "slices"

// maxSource bounds what is read: some 10,000 streams.
const maxSource = 8 << 20

// maxDepth bounds nesting; the language needs one level.
const maxDepth = 8

// Parse reads a source. file stands in problems. The error, if any, is [Problems]: all of them (I1).
func Parse(file string, src []byte) (*Config, error) { return parse(file, src, false) }

// ParseCopy reads what [Config.Canonical] made of a config that may have been sent without its passphrases
// ([SRT.Withheld]).
func ParseCopy(file string, src []byte) (*Config, error) { return parse(file, src, true) }

func parse(file string, src []byte, copied bool) (*Config, error) {
	r := &reporter{file: file}
	if len(src) > maxSource {
		r.add(Position{1, 1}, "the file is larger than 8 MB", "is it the right file?")
		return nil, r.err()
	}
	p := &parser{reporter: r, tokens: lex(r, string(src))}
	c := build(r, p.block(nil), nil, copied)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// ParseStream reads a text that is to be one stream and nothing else. It may refer to storages.
func ParseStream(src []byte, storages []Storage) (Stream, error) {
	r := &reporter{file: "stream"}
	if len(src) > maxSource {
		r.add(Position{1, 1}, "the text is larger than 8 MB", "is it the right one?")
		return Stream{}, r.err()
	}
	p := &parser{reporter: r, tokens: lex(r, string(src))}
	list := p.block(nil)
	if len(list) != 1 || list[0].words[0].text != "stream" {
		r.add(Position{1, 1}, "the text is not one stream and nothing else", `write "stream NAME { ... }"`)
		return Stream{}, r.err()
	}
	c := build(r, list, storages, false)
	if err := r.err(); err != nil {
		return Stream{}, err
	}
	return c.Streams[0], nil
}

// statement is words and, if it ended so, a block. It has at least one word.
type statement struct {
	words    []token
	block    []statement
	hasBlock bool
}

// parser builds the tree of statements, whatever their words mean.
type parser struct {
	*reporter
	tokens []token // ends with EOF
	depth  int
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) take() token {
	t := p.tokens[0]
	if t.kind != tokenEOF {
		p.tokens = p.tokens[1:]
	}
	return t
}

// block reads statements up to the "}" of open, or to the end of the source when open is nil.
func (p *parser) block(open *token) []statement {
	if p.depth++; p.depth > maxDepth {
		p.add(open.pos, "blocks are nested too deep", `close them with "}"`)
		p.tokens = p.tokens[len(p.tokens)-1:]
	}
	defer func() { p.depth-- }()
	var list []statement
	for {
		switch t := p.peek(); t.kind {
		case tokenEOF:
			if open != nil && p.depth <= maxDepth {
				p.add(open.pos, `this "{" is never closed`, `add "}" where the block ends`)
			}
			return list
		case tokenClose:
			p.take()
			if open != nil {
				return list
			}
			p.add(t.pos, `"}" closes nothing`, "remove it")
		case tokenSemicolon:
			p.take() // an empty statement: "};" is a habit of many
		case tokenOpen:
			p.take()
			p.add(t.pos, `"{" has no directive before it`, `write "stream NAME {"`)
			p.block(&t)
		case tokenWord:
			list = append(list, p.statement())
		}
	}
}

func (p *parser) statement() statement {
	s := statement{words: []token{p.take()}}
	for {
		last := s.words[len(s.words)-1]
		switch t := p.peek(); {
		case t.kind == tokenSemicolon:
			p.take()
			return s
		case t.kind == tokenOpen:
			p.take()
			s.block, s.hasBlock = p.block(&t), true
			return s
		case t.kind != tokenWord,
			t.pos.Line > last.pos.Line && slices.Contains(directives, t.text):
			// The words are not shown: one of them may be a secret (I3).
			p.add(last.end, `missing ";" at the end of this statement`, `add ";"`)
			return s
		default:
			s.words = append(s.words, p.take())
		}
	}
}
