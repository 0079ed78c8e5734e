"""Simple English stories from a grammar: a child or an animal, a place, something lost, found, shared or made.

`story(random)` writes one story; the same random.Random gives the same stories.
"""

CHARACTERS = [
    ("Lily", "girl", "she", "her"), ("Anna", "girl", "she", "her"), ("Mia", "girl", "she", "her"), ("Sara", "girl", "she", "her"),
    ("Tom", "boy", "he", "his"), ("Ben", "boy", "he", "his"), ("Max", "boy", "he", "his"), ("Sam", "boy", "he", "his"),
    ("Pip", "mouse", "he", "his"), ("Rosie", "rabbit", "she", "her"), ("Bruno", "bear", "he", "his"), ("Fern", "fox", "she", "her"),
]
TRAITS = ["little", "kind", "brave", "curious", "happy", "quiet", "clever"]
PLACES = [("the park", "near the big tree"), ("the garden", "behind the flowers"), ("the forest", "under the tall trees"),
          ("the beach", "next to the water"), ("the farm", "beside the barn"), ("the hill", "on top of a rock")]
THINGS = ["red ball", "blue kite", "small boat", "shiny stone", "yellow hat", "old book", "wooden box", "soft blanket"]
WEATHER = ["The sun was bright and warm.", "The sky was blue.", "A soft wind was blowing.", "It was a cool and quiet day.", "The birds were singing."]
FOODS = ["apples", "cookies", "berries", "bread and honey", "warm soup"]


def start(r, name, kind, trait):
    opening = r.choice(["Once upon a time,", "One day,", "Long ago,", "One sunny morning,"])
    if opening in ("Once upon a time,", "Long ago,"):
        return f"{opening} there was a {trait} {kind} named {name}."
    return f"{opening} a {trait} {kind} named {name} woke up early."


def lost(r, name, he, his, friend, place, spot, thing):
    He = he.capitalize()
    yield f"{He} took {his} {thing} to {place}."
    yield r.choice(WEATHER)
    yield f"{name} played for a long time, but then the {thing} was gone."
    yield f'"Where is my {thing}?" {name} asked. {He} was very sad.'
    yield f'{friend} came and said, "Do not cry. I will help you."'
    yield r.choice([f"They looked everywhere in {place}.", "They looked up and they looked down."])
    yield f"At last, {friend} saw the {thing} {spot}."
    yield f'"Thank you, {friend}!" said {name}. {He} gave {friend} a big hug.'


def found(r, name, he, his, friend, place, spot, thing):
    He = he.capitalize()
    yield f"{He} loved to walk in {place} every day."
    yield r.choice(WEATHER)
    yield f"{spot[0].upper() + spot[1:]}, {name} saw a {thing}."
    yield f'"Whose {thing} is this?" {he} said. Nobody was there.'
    yield f"{name} took the {thing} and went to see {friend}."
    yield f'"That is mine!" said {friend}. "I lost it and I was so sad."'
    yield f"{name} gave the {thing} back with a smile."
    yield f"{friend} was so happy that they shared {r.choice(FOODS)} together."


def share(r, name, he, his, friend, place, spot, thing):
    He = he.capitalize()
    food = r.choice(FOODS)
    yield f"{He} had a {thing} and {he} did not want to share it."
    yield f"{name} went to {place} and sat down {spot}."
    yield f'{friend} came and asked, "Can I play with your {thing}?"'
    yield f'"No," said {name}. "It is mine." {friend} walked away.'
    yield f"Soon, {name} felt alone. It was no fun to play without a friend."
    yield f'{He} ran to {friend} and said, "I am sorry. Let us play together."'
    yield r.choice(WEATHER)
    yield f"They played with the {thing} all day and then they ate {food}."


def make(r, name, he, his, friend, place, spot, thing):
    He = he.capitalize()
    food = r.choice(FOODS)
    yield f"{He} wanted to make a gift for {friend}."
    yield f'"What does {friend} like?" {name} thought. "I know! {friend} likes {food}."'
    yield f"{name} worked all morning to make {food}."
    yield f"Then {he} put the {food} in {his} basket and went to {place}."
    yield f"{friend} was sitting {spot} with a {thing}."
    yield f'"This is for you," said {name}.'
    yield f'"Thank you!" said {friend}. "You are a very good friend."'
    yield f"They ate the {food} together and watched the sky."


def story(r):
    name, kind, he, his = r.choice(CHARACTERS)
    friend = r.choice([other[0] for other in CHARACTERS if other[0] != name])
    place, spot = r.choice(PLACES)
    lines = [start(r, name, kind, r.choice(TRAITS))]
    lines += r.choice([lost, found, share, make])(r, name, he, his, friend, place, spot, r.choice(THINGS))
    lines.append(r.choice([f"{name} went home and slept well.", "It was a very good day.", f"From that day on, {name} and {friend} were best friends."]))
    return " ".join(lines)
