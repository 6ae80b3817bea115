"""Kinds of columns, as messages and the description of the table name them."""

WHOLE = "whole numbers"
NUMBER = "numbers"
TRUTH = "true or false"
TEXT = "texts"
TEXTS = "lists of texts"
NUMBERS = "lists of numbers"
EMPTY = "empty lists"
