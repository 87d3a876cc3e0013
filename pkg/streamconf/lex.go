package streamconf

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEOF tokenKind = iota
	tokenWord
	tokenSemicolon
	tokenOpen
	tokenClose
)

type token struct {
	kind tokenKind
	text string // of a word: without its quotes
	pos  Position
	end  Position // just after it
}

// lexer cuts a source into tokens. It reports what it cannot read and goes on behind it.
type lexer struct {
	*reporter
	src string
	off int
	pos Position
}

func lex(r *reporter, src string) []token {
	l := &lexer{reporter: r, src: strings.TrimPrefix(src, "\ufeff"), pos: Position{1, 1}}
	var tokens []token
	for {
		t := l.next()
		tokens = append(tokens, t)
		if t.kind == tokenEOF {
			return tokens
		}
	}
}

// peek is the next character, or -1 at the end.
func (l *lexer) peek() rune {
	if l.off >= len(l.src) {
		return -1
	}
	c, _ := utf8.DecodeRuneInString(l.src[l.off:])
	return c
}

func (l *lexer) take() rune {
	c, n := utf8.DecodeRuneInString(l.src[l.off:])
	switch {
	case c == utf8.RuneError && n == 1:
		l.add(l.pos, "this is not UTF-8 text", "save the file as UTF-8")
	case unicode.IsControl(c) && !isSpace(c):
		l.add(l.pos, fmt.Sprintf("control character %U", c), "remove it")
	}
	l.off += n
	l.pos.Column++
	if c == '\n' {
		l.pos = Position{l.pos.Line + 1, 1}
	}
	return c
}

func isSpace(c rune) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func (l *lexer) next() token {
	for {
		c := l.peek()
		switch {
		case isSpace(c):
			l.take()
			continue
		case c == '#':
			for c := l.peek(); c != '\n' && c != -1; c = l.peek() {
				l.take()
			}
			continue
		}
		t := token{pos: l.pos}
		switch c {
		case -1:
		case ';', '{', '}':
			t.kind = map[rune]tokenKind{';': tokenSemicolon, '{': tokenOpen, '}': tokenClose}[l.take()]
		default:
			t.kind, t.text = tokenWord, l.word()
		}
		t.end = l.pos
		return t
	}
}

// word reads to the next space, ";" or brace. Quotes may begin anywhere in it, as in key="a b".
func (l *lexer) word() string {
	var b strings.Builder
	for {
		switch c := l.peek(); {
		case c == -1 || isSpace(c) || strings.ContainsRune(";{}", c):
			return b.String()
		case c == '"':
			l.quoted(&b)
		default:
			b.WriteRune(l.take())
		}
	}
}

func (l *lexer) quoted(b *strings.Builder) {
	open := l.pos
	l.take()
	for {
		at := l.pos
		switch c := l.peek(); c {
		case -1, '\n':
			l.add(open, "the quote is not closed on its line", `add a closing "`)
			return
		case '"':
			l.take()
			return
		case '\\':
			l.take()
			if c := l.peek(); c == '"' || c == '\\' {
				b.WriteRune(l.take())
				continue
			}
			l.add(at, `a lone \ in quotes`, `write \\ for a backslash, \" for a quote`)
		default:
			b.WriteRune(l.take())
		}
	}
}
