"""The peer: a plain Trainer, built as Hugging Face's token-classification guide has it, on the same labels and encoder.

Its learning rate and steps are ours: with the guide's 2e-5 and two epochs it would hardly learn from 200 sentences.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgewise.labels.spans import Document
from edgewise.labels.windows import tag_names, tags_of, words
from edgewise.learning.baseline import resolve


def plain_trainer(documents: Sequence[Document], labels: Sequence[str], folder: Path) -> Path:
    """Fine-tune with Trainer: AdamW at 3e-4, linear decay, 200 steps of 8. Returns the model folder."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    names = tag_names(labels)
    tokenizer = AutoTokenizer.from_pretrained(resolve("packaged:minilm"))
    model = AutoModelForTokenClassification.from_pretrained(
        resolve("packaged:minilm"),
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    arguments = TrainingArguments(
        output_dir=str(folder / "work"),
        learning_rate=3e-4,
        max_steps=200,
        per_device_train_batch_size=8,
        weight_decay=0.01,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    rows = [encoded(tokenizer, document, labels) for document in documents]
    collator = DataCollatorForTokenClassification(tokenizer)
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator)
    trainer.train()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def encoded(tokenizer: Any, document: Document, labels: Sequence[str]) -> dict[str, list[int]]:
    """One sentence with its tag at each word's first sub-word, as the documentation aligns labels."""
    pieces = words(document.text)
    tags = tags_of(document.spans, pieces, labels)
    found = tokenizer(
        [document.text[a:b] for a, b in pieces], is_split_into_words=True, truncation=True, max_length=128
    )
    word_ids = found.word_ids()
    first = [word is not None and word != before for word, before in zip(word_ids, [None, *word_ids], strict=False)]
    targets = [int(tags[word]) if starts else -100 for word, starts in zip(word_ids, first, strict=True)]
    return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"], "labels": targets}
